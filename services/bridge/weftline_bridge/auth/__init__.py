"""Decides who a client is and what it may see and do: origins, tokens, keys and permissions, without I/O or clock."""

from weftline_bridge.auth.addresses import TrustedProxies, origin_of
from weftline_bridge.auth.identity import ANONYMOUS, EVERYTHING, NOTHING, Identity, Scope
from weftline_bridge.auth.keys import MIN_SECRET_BYTES, JwksKeys, SecretKey, VerificationKeys
from weftline_bridge.auth.origins import OriginPolicy
from weftline_bridge.auth.tokens import TokenRules, check_token, read_header

__all__ = [
    "ANONYMOUS",
    "EVERYTHING",
    "MIN_SECRET_BYTES",
    "NOTHING",
    "Identity",
    "JwksKeys",
    "OriginPolicy",
    "Scope",
    "SecretKey",
    "TokenRules",
    "TrustedProxies",
    "VerificationKeys",
    "check_token",
    "origin_of",
    "read_header",
]

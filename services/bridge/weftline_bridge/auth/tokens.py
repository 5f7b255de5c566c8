"""Checks JSON Web Tokens (RFC 7519) by the advice of RFC 8725: fixed algorithms, and every claim that is relied on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jwt
from jwt import PyJWK

from weftline_bridge.auth.identity import Identity
from weftline_bridge.errors import TokenRefusedError

MAX_TOKEN_BYTES = 8192
_MAX_KEY_ID = 256
_LAST_MOMENT = 1e12


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token has to say: `issuer` and `audience` where they are not empty.

    `leeway` (seconds) is how far the clocks of issuer and bridge may be apart.
    """

    issuer: str = ""
    audience: str = ""
    leeway: float = 10.0


@dataclass(frozen=True, slots=True)
class TokenHeader:
    """How a token says that it was signed, which is not to be believed yet; `key_id` is empty where it names none."""

    algorithm: str
    key_id: str


def read_header(token: str) -> TokenHeader:
    """The algorithm and the key that a token names.

    Raises TokenRefusedError: `token_malformed`, or `token_algorithm` for a token that is not signed.
    """
    if len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise TokenRefusedError("token_malformed", f"a token has at most {MAX_TOKEN_BYTES} ASCII characters")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise TokenRefusedError("token_malformed", "this is no JSON Web Token") from None
    algorithm, key_id = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or algorithm.lower() == "none":
        raise TokenRefusedError("token_algorithm", "the token is not signed")
    if not isinstance(key_id, str) or len(key_id) > _MAX_KEY_ID:
        raise TokenRefusedError("token_malformed", "the id of the token's key is no text, or too long")
    return TokenHeader(algorithm[:16] if algorithm.isprintable() else "?", key_id)


def check_token(token: str, key: PyJWK, rules: TokenRules, now: float) -> Identity:
    """Verify a token with its key at the time `now` (seconds since the Unix epoch); who it is of.

    Raises TokenRefusedError; its code says what is wrong: `token_signature`, `token_expired`, `token_not_yet`,
    `token_issuer`, `token_audience` or `token_claims`.
    """
    claims = _verified(token, key, rules)
    expires = _moment(claims, "exp")
    if expires is None:
        raise TokenRefusedError("token_claims", "the token has no claim exp")
    if expires <= now - rules.leeway:
        raise TokenRefusedError("token_expired", "the token has expired")
    for name in ("nbf", "iat"):
        begins = _moment(claims, name)
        if begins is not None and begins > now + rules.leeway:
            raise TokenRefusedError("token_not_yet", f"the token is not valid yet, by its claim {name}")
    return Identity.from_claims(claims, expires)


def _verified(token: str, key: PyJWK, rules: TokenRules) -> Mapping[str, object]:
    """The claims of a token whose signature, issuer and audience are right; times are checked by who has the clock."""
    try:
        return jwt.decode(
            token,
            key=key,
            # Never those of the token's own header: a public key must not be taken for a secret.
            algorithms=[key.algorithm_name],
            issuer=rules.issuer or None,
            audience=rules.audience or None,
            options={
                "require": ["exp", "sub"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_iss": bool(rules.issuer),
                "verify_aud": bool(rules.audience),
            },
        )
    except jwt.InvalidAudienceError:
        raise TokenRefusedError("token_audience", "the token is for another audience") from None
    except jwt.InvalidIssuerError:
        raise TokenRefusedError("token_issuer", "the token is of another issuer") from None
    except jwt.MissingRequiredClaimError as error:
        raise TokenRefusedError("token_claims", f"the token has no claim {error.claim}") from None
    except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
        raise TokenRefusedError("token_signature", "the token's signature is wrong") from None
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise TokenRefusedError("token_malformed", "the token can't be read") from None


def _moment(claims: Mapping[str, object], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LAST_MOMENT < value < _LAST_MOMENT:
        raise TokenRefusedError("token_claims", f"the claim {name} has to be a number of seconds")
    return float(value)

"""The keys that tokens are verified with: a shared secret, or the public keys of a JWKS document (RFC 7517)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from weftline_bridge.errors import TokenRefusedError

MIN_SECRET_BYTES = 32
"""An HS256 key that is shorter than the hash can be guessed more easily than the hash (RFC 7518, 3.2)."""

MAX_KEYS = 100
MIN_RSA_BITS = 2048
_ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}


class VerificationKeys(Protocol):
    """Where the key of a token is looked up."""

    def find(self, algorithm: str, key_id: str) -> PyJWK:
        """The key that a token with this header was signed for.

        Raises TokenRefusedError: `token_algorithm` where no key is for this algorithm, `token_key` where there is no
        such key.
        """


class SecretKey:
    """One secret that the issuer shares with the bridge, for HS256 and nothing else."""

    def __init__(self, secret: bytes) -> None:
        """Raises ValueError for a secret of fewer than 32 bytes."""
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError(f"a secret has at least {MIN_SECRET_BYTES} bytes, this one has {len(secret)}")
        encoded = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
        self._key = PyJWK({"kty": "oct", "k": encoded}, algorithm="HS256")

    def find(self, algorithm: str, key_id: str) -> PyJWK:
        """The secret, whatever the key's id."""
        del key_id
        if algorithm != "HS256":
            raise TokenRefusedError("token_algorithm", f"tokens are signed with HS256, this one with {algorithm}")
        return self._key


class JwksKeys:
    """Public keys for RS256 and ES256, by id; a key of any other kind, also a symmetric one, is left out."""

    def __init__(self, keys: Sequence[PyJWK] = ()) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    @classmethod
    def parse(cls, document: bytes) -> JwksKeys:
        """Read a JWKS document. Raises ValueError when it is none, or has no key that can be used."""
        try:
            found = msgspec.json.decode(document, type=dict[str, object]).get("keys")
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f"expected a JWKS document: {error}") from None
        if not isinstance(found, list) or len(found) > MAX_KEYS:
            raise ValueError(f"expected a JWKS document with at most {MAX_KEYS} keys")
        keys = [key for item in found if (key := _usable(item)) is not None]
        if not keys:
            raise ValueError("the JWKS document has no key for RS256 or ES256")
        return cls(keys)

    def find(self, algorithm: str, key_id: str) -> PyJWK:
        """The key with this id; a token that names none is verified with the only key of its algorithm."""
        if algorithm not in _ALGORITHMS.values():
            raise TokenRefusedError("token_algorithm", f"tokens are signed with RS256 or ES256, not {algorithm}")
        fitting = [key for key in self._keys if key.algorithm_name == algorithm]
        if key_id:
            fitting = [key for key in fitting if key.key_id == key_id]
        if len(fitting) != 1:
            raise TokenRefusedError("token_key", "no key is known that this token can be verified with")
        return fitting[0]


def _usable(item: object) -> PyJWK | None:
    if not isinstance(item, Mapping) or item.get("use", "sig") != "sig":
        return None
    algorithm = _ALGORITHMS.get(str(item.get("kty")))
    if algorithm is None or item.get("alg", algorithm) != algorithm or "d" in item:
        return None
    if algorithm == "ES256" and item.get("crv") != "P-256":
        return None
    try:
        key = PyJWK(dict(item), algorithm=algorithm)
    except (PyJWTError, ValueError, TypeError):
        return None
    return None if algorithm == "RS256" and key.key.key_size < MIN_RSA_BITS else key

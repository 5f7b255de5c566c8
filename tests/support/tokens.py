"""Makes tokens, keys and JWKS documents as an issuer would, and serves the documents over HTTP."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from functools import cache
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

SECRET = "a secret of tests, long enough for HS256"
HOUR = 3600.0

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def claims(subject: str = "ada", **others: Any) -> dict[str, Any]:
    """Claims that permit everything for an hour, but for what `others` say; None leaves a claim out."""
    permitted = {"view": ["*"], "control": ["*"]}
    found = {"sub": subject, "exp": time.time() + HOUR, "weftline": permitted, **others}
    return {name: value for name, value in found.items() if value is not None}


def token(subject: str = "ada", *, secret: str = SECRET, **others: Any) -> str:
    """A token signed with a secret."""
    return jwt.encode(claims(subject, **others), secret, "HS256")


def permitting(subject: str = "ada", view: Sequence[str] = (), control: Sequence[str] = (), **others: Any) -> str:
    """A token that permits no more than this."""
    return token(subject, weftline={"view": list(view), "control": list(control)}, **others)


def bearer(text: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {text}"}


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """One of any number of RSA keys; made once."""
    del number
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key(number: int = 0) -> ec.EllipticCurvePrivateKey:
    """One of any number of keys on P-256; made once."""
    del number
    return ec.generate_private_key(ec.SECP256R1())


def signed(key: PrivateKey, key_id: str = "", subject: str = "ada", **others: Any) -> str:
    """A token signed with a private key."""
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    return jwt.encode(claims(subject, **others), key, algorithm, headers={"kid": key_id} if key_id else None)


def jwk(key: PrivateKey, key_id: str = "", **others: Any) -> dict[str, Any]:
    """The public part of a key as a JWK."""
    if isinstance(key, rsa.RSAPrivateKey):
        found = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        found = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**found, "use": "sig", **({"kid": key_id} if key_id else {}), **others}


class Issuer:
    """Serves a JWKS document at `url`; `reads` counts how often it was read.

    `away` has it answer 503, `redirect` send the reader to another address.
    """

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.reads = 0
        self.away = False
        self.redirect = ""
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        """The document as it is now."""
        del request
        self.reads += 1
        if self.away:
            return web.Response(status=503)
        if self.redirect:
            raise web.HTTPFound(self.redirect)
        return web.Response(text=json.dumps({"keys": self.keys}), content_type="application/json")


@contextlib.asynccontextmanager
async def running_issuer(*keys: dict[str, Any]) -> AsyncIterator[Issuer]:
    """An issuer of these keys on a free port."""
    issuer = Issuer()
    issuer.keys = list(keys)
    application = web.Application()
    application.router.add_get("/jwks.json", issuer.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks.json"
    try:
        yield issuer
    finally:
        await runner.cleanup()

"""Tokens: which are good, and by which name each other one is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tokens import SECRET, claims, ec_key, jwk, rsa_key, signed
from weftline_bridge.auth import (
    Identity,
    JwksKeys,
    SecretKey,
    TokenRules,
    VerificationKeys,
    check_token,
    read_header,
)
from weftline_bridge.errors import TokenRefusedError

NOW = 1_000_000.0
SHARED = SecretKey(SECRET.encode())


def hs256(secret: str = SECRET, headers: dict[str, Any] | None = None, **others: Any) -> str:
    return jwt.encode(claims(**{"exp": NOW + 60, **others}), secret, "HS256", headers=headers)


def check(token: str, keys: VerificationKeys = SHARED, rules: TokenRules | None = None) -> Identity:
    header = read_header(token)
    key = keys.find(header.algorithm, header.key_id)
    return check_token(token, key, rules or TokenRules(), NOW)


def refusal(token: str, keys: VerificationKeys = SHARED, rules: TokenRules | None = None) -> str:
    with pytest.raises(TokenRefusedError) as raised:
        check(token, keys, rules)
    assert len(token) < 20 or token[:20] not in str(raised.value)
    return raised.value.code


def jwks(*keys: dict[str, Any]) -> JwksKeys:
    return JwksKeys.parse(json.dumps({"keys": keys}).encode())


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_good_token_says_who_it_is_of_and_for_how_long() -> None:
    identity = check(hs256(sub="grace"))
    assert (identity.subject, identity.expires) == ("grace", NOW + 60)


@pytest.mark.parametrize("key", [rsa_key(), ec_key()], ids=["RS256", "ES256"])
def test_a_token_is_verified_with_the_public_key_of_its_id(key: Any) -> None:
    keys = jwks(jwk(rsa_key(1), "other"), jwk(ec_key(1), "another"), jwk(key, "k"))
    assert check(signed(key, "k", exp=NOW + 60), keys).subject == "ada"
    assert refusal(signed(key, "other" if key is rsa_key() else "another", exp=NOW + 60), keys) == "token_signature"
    assert refusal(signed(key, "unknown", exp=NOW + 60), keys) == "token_key"


def test_a_token_that_names_no_key_is_verified_with_the_only_one_of_its_kind() -> None:
    assert check(signed(rsa_key(), exp=NOW + 60), jwks(jwk(rsa_key(), "a"), jwk(ec_key(), "b"))).subject == "ada"
    assert refusal(signed(rsa_key(), exp=NOW + 60), jwks(jwk(rsa_key(), "a"), jwk(rsa_key(1), "b"))) == "token_key"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE"])
def test_a_token_without_a_signature_is_refused(algorithm: str) -> None:
    unsigned = f"{segment({'alg': algorithm, 'typ': 'JWT'})}.{segment(claims())}."
    assert refusal(unsigned) == "token_algorithm"
    assert refusal(unsigned, jwks(jwk(rsa_key(), "k"))) == "token_algorithm"


def test_a_public_key_is_never_taken_for_a_secret() -> None:
    public = rsa_key().public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    body = f"{segment({'alg': 'HS256', 'typ': 'JWT', 'kid': 'k'})}.{segment(claims())}"
    hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = base64.urlsafe_b64encode(hmac.sign(body.encode(), pem)).rstrip(b"=").decode()
    assert refusal(f"{body}.{signature}", jwks(jwk(rsa_key(), "k"))) == "token_algorithm"


def test_an_asymmetric_token_is_refused_where_a_secret_is_shared() -> None:
    assert refusal(signed(rsa_key(), exp=NOW + 60)) == "token_algorithm"
    assert refusal(jwt.encode(claims(), SECRET * 2, "HS512")) == "token_algorithm"


@pytest.mark.parametrize(
    ("others", "code"),
    [
        ({"exp": NOW - 11}, "token_expired"),
        ({"exp": NOW - 10}, "token_expired"),
        ({"exp": None}, "token_claims"),
        ({"exp": "soon"}, "token_claims"),
        ({"exp": True}, "token_claims"),
        ({"exp": 10**400}, "token_claims"),
        ({"nbf": NOW + 11}, "token_not_yet"),
        ({"iat": NOW + 11}, "token_not_yet"),
        ({"sub": None}, "token_claims"),
        ({"weftline": 5}, "token_claims"),
    ],
)
def test_claims_that_are_not_good_are_named(others: dict[str, Any], code: str) -> None:
    assert refusal(hs256(**others)) == code


@pytest.mark.parametrize("others", [{"exp": NOW - 9}, {"nbf": NOW + 10}, {"iat": NOW + 10}])
def test_clocks_may_be_apart_by_the_leeway(others: dict[str, Any]) -> None:
    assert check(hs256(**others)).subject == "ada"


def test_the_issuer_and_the_audience_have_to_be_those_that_are_set() -> None:
    rules = TokenRules(issuer="https://id.example", audience="weftline")
    good: dict[str, Any] = {"iss": "https://id.example", "aud": ["weftline", "other"]}
    assert check(hs256(**good), rules=rules).subject == "ada"
    assert check(hs256(**good)).subject == "ada"
    assert refusal(hs256(**{**good, "iss": "https://evil.example"}), rules=rules) == "token_issuer"
    assert refusal(hs256(**{**good, "aud": "other"}), rules=rules) == "token_audience"
    assert refusal(hs256(iss="https://id.example"), rules=rules) == "token_claims"
    assert refusal(hs256(aud="weftline"), rules=rules) == "token_claims"


def test_a_token_of_another_secret_or_with_a_changed_claim_is_refused() -> None:
    assert refusal(hs256("another secret, which is as long as it")) == "token_signature"
    head, _, signature = hs256().split(".")
    assert refusal(f"{head}.{segment(claims('root'))}.{signature}") == "token_signature"


def test_an_extension_that_must_be_understood_and_is_not_is_refused() -> None:
    assert refusal(hs256(headers={"crit": ["later"], "later": 1})) == "token_malformed"


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c", "x" * 8193, "é.é.é", f"{'[' * 3000}.x.y"])
def test_what_is_no_token_is_refused(token: str) -> None:
    assert refusal(token) == "token_malformed"


def test_a_header_of_endless_depth_is_refused() -> None:
    deep = base64.urlsafe_b64encode(b'{"a":' * 1100).rstrip(b"=").decode()
    assert refusal(f"{deep}.{segment({})}.x") == "token_malformed"


@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode() + ".e30.x"))
def test_whatever_comes_as_a_token_is_refused_by_name(token: str) -> None:
    assert refusal(token).startswith("token_")


@pytest.mark.parametrize(
    "key",
    [
        jwk(rsa_key(), "k", use="enc"),
        jwk(rsa_key(), "k", alg="RS512"),
        jwk(rsa_key(9, 1024), "k"),
        {"kty": "oct", "k": "c2VjcmV0" * 6, "kid": "k"},
        {"kty": "RSA", "kid": "k"},
        {"kty": "EC", "crv": "P-384", "kid": "k"},
        "no object",
    ],
    ids=["encryption", "RS512", "short", "symmetric", "incomplete", "P-384", "text"],
)
def test_a_key_that_is_not_for_rs256_or_es256_is_left_out(key: Any) -> None:
    keys = jwks(key, jwk(ec_key(), "good"))
    assert len(keys) == 1
    with pytest.raises(ValueError, match="no key"):
        jwks(key)


@pytest.mark.parametrize("document", [b"", b"[]", b'{"keys": 5}', b'{"keys": []}', b"[" * 5000])
def test_what_is_no_jwks_document_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match="JWKS document"):
        JwksKeys.parse(document)


def test_a_secret_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        SecretKey(b"x" * 31)

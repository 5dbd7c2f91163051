"""Each check of an access token, on its own: a token that fails one and no other is refused."""

import asyncio
import hmac
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from app.adapters.oidc.tokens import Verifier
from app.crypto.jwt import MAX_CHARACTERS, Key, ProviderKeys, Refused
from app.features.identity_providers.schemas import ALGORITHMS, Provider
from app.outbound.jwks import usable_keys
from tests.adapters.oidc.tokens import (
    AUDIENCE,
    ISSUER,
    KEY,
    NOW,
    PROVIDER,
    claims,
    good_token,
    header,
    part,
    public,
    token,
)

RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
STRANGER = ECKey.generate_key("P-256", {"kid": "first"})
NESTED: dict[str, Any] = json.loads('{"a":' * 20 + "1" + "}" * 20)


def verifier(provider: Provider = PROVIDER, published: Sequence[dict[str, Any]] | None = None) -> Verifier:
    """A verifier that takes every token to be of one provider, so that the other checks have to hold alone."""
    keys = usable_keys(public(KEY) if published is None else list(published))

    async def find(_issuer: str) -> tuple[Provider, float]:
        return provider, NOW

    async def fetch(_issuer: str) -> tuple[Key, ...]:
        return keys

    return Verifier(find, ProviderKeys(fetch))


async def accepted(
    text: str, provider: Provider = PROVIDER, published: Sequence[dict[str, Any]] | None = None
) -> bool:
    """Whether a token passes."""
    try:
        found, held = await verifier(provider, published).verify(text)
    except Refused:
        return False
    assert found is provider
    assert held
    return True


async def test_a_good_token_gives_its_provider_and_its_claims() -> None:
    provider, held = await verifier().verify(good_token(groups=["a", "b"]))
    assert provider is PROVIDER
    assert held == claims(groups=["a", "b"])


@pytest.mark.parametrize(
    "good",
    [
        {"aud": [AUDIENCE, "https://elsewhere.example.com"]},
        {"aud": "https://other.example.com"},
        {"exp": NOW - 59},
        {"iat": NOW + 59},
        {"nbf": NOW + 59},
        {"exp": NOW + 0.5},
        {"jti": "x", "nonce": "an at+jwt is no ID token whatever it holds"},
    ],
)
async def test_what_is_within_the_rules_passes(good: dict[str, Any]) -> None:
    assert await accepted(good_token(**good))


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://sso.example.com"},
        {"iss": ISSUER + "/"},
        {"iss": ISSUER.upper()},
        {"iss": [ISSUER]},
        {"iss": ...},
        {"aud": "https://scopegate.example.com/"},
        {"aud": ["https://elsewhere.example.com"]},
        {"aud": []},
        {"aud": ""},
        {"aud": {AUDIENCE: 1}},
        {"aud": [[AUDIENCE]]},
        {"aud": [AUDIENCE, 1]},
        {"aud": ...},
        {"exp": NOW - 61},
        {"exp": str(NOW + 300)},
        {"exp": True},
        {"exp": None},
        {"exp": 10**20},
        {"exp": 10**399},
        {"exp": ...},
        {"iat": NOW + 61},
        {"iat": -1},
        {"iat": str(NOW)},
        {"iat": True},
        {"iat": ...},
        {"nbf": NOW + 61},
        {"nbf": -1},
        {"nbf": "soon"},
        {"nbf": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": ["ada"]},
        {"sub": None},
        {"sub": "a" * 1025},
        {"sub": ...},
        {"sub": "a\x00b"},
        {"jti": 7},
    ],
    ids=lambda wrong: json.dumps(
        {name: "absent" if value is ... else value for name, value in wrong.items()}
    )[:60],
)
async def test_a_wrong_claim_is_refused(wrong: dict[str, Any]) -> None:
    assert not await accepted(good_token(**wrong))


@pytest.mark.parametrize(
    "text",
    ['"exp":NaN', '"exp":Infinity', '"exp":1e999', '"exp":-Infinity', '"nbf":NaN,"exp":1800000300'],
)
async def test_a_number_that_is_none_is_refused(text: str) -> None:
    body = json.dumps(claims(exp=...))[:-1] + "," + text + "}"
    assert not await accepted(token(header(), body.encode()))


async def test_a_provider_without_an_audience_has_no_tokens_for_us() -> None:
    assert not await accepted(good_token(), replace(PROVIDER, audiences=()))
    assert not await accepted(good_token(aud=[]), replace(PROVIDER, audiences=()))


@pytest.mark.parametrize("kind", ["at+jwt", "application/at+jwt", "AT+JWT"])
async def test_the_type_is_read_as_media_types_are(kind: str) -> None:
    assert await accepted(token(header(typ=kind), claims()))


@pytest.mark.parametrize(
    "kind", ["JWT", "jwt", "logout+jwt", "secevent+jwt", "id+jwt", "", 7, ["at+jwt"], ...]
)
async def test_another_type_is_refused(kind: object) -> None:
    assert not await accepted(token(header(typ=kind), claims()))


async def test_a_provider_can_be_taken_without_its_saying_at_jwt() -> None:
    plain = replace(PROVIDER, token_types=("jwt", ""))
    assert await accepted(token(header(typ="JWT"), claims()), plain)
    assert await accepted(token(header(typ=...), claims()), plain)
    assert not await accepted(token(header(), claims()), plain)


@pytest.mark.parametrize(
    "mark",
    [{name: "x"} for name in ("nonce", "at_hash", "c_hash", "s_hash", "events")]
    + [{"typ": kind} for kind in ("ID", "Refresh", "Offline", "Logout")],
)
@pytest.mark.parametrize("kind", ["JWT", ...])
async def test_an_id_token_or_logout_token_is_no_access_token(mark: dict[str, str], kind: object) -> None:
    plain = replace(PROVIDER, token_types=("at+jwt", "jwt", ""))
    assert not await accepted(token(header(typ=kind), claims(NOW, **mark)), plain)
    for said in ({"typ": "Bearer"}, {"typ": ["ID"]}):
        assert await accepted(token(header(typ=kind), claims(NOW, **said)), plain)


@pytest.mark.parametrize(
    "critical",
    [
        {"crit": ["exp"], "exp": NOW},
        {"crit": ["b64"], "b64": True},
        {"crit": ["b64"], "b64": False},
        {"crit": []},
        {"crit": "kid"},
        {"crit": None},
    ],
)
async def test_a_critical_header_is_refused(critical: dict[str, Any]) -> None:
    assert not await accepted(token(header(**critical), claims()))


async def test_a_header_that_nobody_knows_is_ignored() -> None:
    assert await accepted(token(header(x5t="abc", nonce="abc", **{"urn:x": [1]}), claims()))


async def test_a_token_without_a_signature_is_refused() -> None:
    unsigned = (part(header(alg="none")) + b"." + part(claims()) + b".").decode()
    assert not await accepted(unsigned)
    assert not await accepted(unsigned.replace(part(header(alg="none")).decode(), part(header()).decode()))
    assert not await accepted(unsigned, replace(PROVIDER, algorithms=("ES256", "none")))


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_a_token_signed_with_the_public_key_as_a_shared_secret_is_refused(algorithm: str) -> None:
    rsa = replace(PROVIDER, algorithms=("RS256",))
    for secret in (
        RSA.as_pem(private=False),
        RSA.as_pem(private=False).strip(),
        json.dumps(public(RSA)[0]).encode(),
    ):
        signed = part(header(alg=algorithm, kid="rsa")) + b"." + part(claims())
        signature = hmac.digest(secret, signed, "sha" + algorithm.removeprefix("HS"))
        forged = token(header(alg=algorithm, kid="rsa"), claims(), signature=signature)
        assert not await accepted(forged, rsa, public(RSA))
        # Not even where somebody has written it into the database.
        assert not await accepted(forged, replace(rsa, algorithms=("RS256", algorithm)), public(RSA))


async def test_a_published_shared_secret_is_no_key() -> None:
    secret = OctKey.generate_key(256, {"kid": "first"})
    forged = token(header(alg="HS256"), claims(), secret)
    published = [secret.as_dict(private=True)]
    assert not await accepted(forged, replace(PROVIDER, algorithms=("HS256",)), [dict(published[0])])


async def test_an_algorithm_outside_the_providers_list_is_refused() -> None:
    rsa = replace(PROVIDER, algorithms=("RS256",))
    assert await accepted(token(header(alg="RS256", kid="rsa"), claims(), RSA), rsa, public(RSA))
    for algorithm in ("RS384", "PS256"):
        text = token(header(alg=algorithm, kid="rsa"), claims(), RSA)
        assert not await accepted(text, rsa, public(RSA))
        assert not await accepted(text, replace(rsa, algorithms=()), public(RSA))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_algorithm_that_may_be_listed_is_checked(algorithm: str) -> None:
    kinds: dict[str, Any] = {
        "ES256": lambda: ECKey.generate_key("P-256"),
        "ES384": lambda: ECKey.generate_key("P-384"),
        "ES512": lambda: ECKey.generate_key("P-521"),
        "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
        "Ed25519": lambda: OKPKey.generate_key("Ed25519"),
    }
    key = kinds.get(algorithm, lambda: RSA)()
    provider = replace(PROVIDER, algorithms=(algorithm,))
    text = token(header(alg=algorithm, kid=...), claims(), key)
    assert await accepted(text, provider, public(key))
    forged = text.rpartition(".")[0] + "." + text.rpartition(".")[2][::-1]
    assert not await accepted(forged, provider, public(key))


@pytest.mark.parametrize("alg", ["es256", "", 5, ["ES256"], {}, None, ...])
async def test_an_algorithm_that_is_no_name_is_refused(alg: object) -> None:
    assert not await accepted(token(header(alg=alg), claims(), algorithm="ES256"))


@pytest.mark.parametrize(
    "changed",
    [
        {"alg": "ES384"},
        {"use": "enc"},
        {"key_ops": ["encrypt"]},
        {"key_ops": []},
    ],
)
async def test_a_key_that_is_published_for_something_else_checks_no_token(changed: dict[str, Any]) -> None:
    published = [public(KEY)[0] | changed]
    assert not await accepted(good_token(), published=published)
    assert not await accepted(token(header(kid=...), claims()), published=published)


async def test_a_key_of_another_kind_or_curve_checks_no_token() -> None:
    named = [public(RSA)[0] | {"kid": "first"}, public(ECKey.generate_key("P-384"))[0] | {"kid": "first"}]
    assert not await accepted(good_token(), published=named)


async def test_a_strangers_signature_is_refused() -> None:
    assert not await accepted(token(header(), claims(), STRANGER))
    pieces = good_token().split(".")
    assert not await accepted(".".join([pieces[0], part(claims(sub="eve")).decode(), pieces[2]]))
    assert not await accepted(".".join([part(header(x=1)).decode(), pieces[1], pieces[2]]))


async def test_keys_that_a_token_brings_along_are_never_used() -> None:
    key = public(STRANGER)[0]
    brought = {"jwk": key, "jku": "https://evil.example.com/keys", "x5u": "https://evil.example.com/x5u"}
    assert not await accepted(token(header(**brought), claims(), STRANGER))
    # One that is the provider's own is ignored like any other.
    assert await accepted(token(header(jwk=public(KEY)[0]), claims()))


@pytest.mark.parametrize("kid", ["second", "", 5, ["first"]])
async def test_an_unknown_key_name_is_refused(kid: object) -> None:
    assert not await accepted(token(header(kid=kid), claims()))


async def test_without_a_name_the_only_key_that_fits_is_taken() -> None:
    nameless = token(header(kid=...), claims())
    spare = ECKey.generate_key("P-256", {"kid": "spare"})
    assert await accepted(nameless)
    others = [*public(RSA), public(spare)[0] | {"use": "enc"}, public(spare)[0] | {"key_ops": ["encrypt"]}]
    assert await accepted(nameless, published=[*others, *public(KEY)])
    assert not await accepted(nameless, published=public(KEY, spare))
    assert not await accepted(nameless, published=[])


async def test_a_short_rsa_key_is_no_key() -> None:
    with pytest.warns(match="2048"):
        short = RSAKey.generate_key(1024, {"kid": "first"})
    text = token(header(alg="RS256"), claims(), short)
    assert not await accepted(text, replace(PROVIDER, algorithms=("RS256",)), public(short))


async def test_a_token_that_is_too_large_is_refused() -> None:
    room = MAX_CHARACTERS - len(good_token(padding=""))
    assert await accepted(good_token(padding="a" * (room * 3 // 4 - 3)))
    assert not await accepted(good_token(padding="a" * room))


@pytest.mark.parametrize(
    "text",
    [
        b'{"alg":"ES256","typ":"at+jwt","kid":"first","alg":"ES256"}',
        b'{"alg":"ES256","typ":"at+jwt","kid":"first","\\u0061lg":"ES256"}',
        b'["ES256"]',
        b'"ES256"',
        b"null",
        b"{",
        b"",
        b'{"alg":"ES256","typ":"at+jwt","kid":"first","x":"\xff"}',
        b'\xef\xbb\xbf{"alg":"ES256","typ":"at+jwt","kid":"first"}',
        b'{"alg":"ES256","typ":"at+jwt","kid":"first"} x',
    ],
)
async def test_a_header_that_two_readers_could_read_differently_is_refused(text: bytes) -> None:
    assert not await accepted(token(text, claims(), algorithm="ES256"))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(claims())[:-1].encode() + b',"sub":"ada"}',
        json.dumps([claims()]).encode(),
        json.dumps(claims(deep=NESTED)).encode(),
        b"[" * 5000,
        b"",
    ],
)
async def test_claims_that_two_readers_could_read_differently_are_refused(text: bytes) -> None:
    assert not await accepted(token(header(), text))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + ".",
        lambda text: text + ".e30",
        lambda text: text.rpartition(".")[0],
        lambda text: text.partition(".")[0],
        lambda text: text.replace(".", "..", 1),
        lambda text: text + "=",
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text[:-1],
        lambda text: text.replace(".", ".\u00e4", 1),
        lambda text: "..",
        lambda text: "",
        lambda text: text.replace("A", "+").replace("_", "/"),
    ],
)
async def test_a_form_that_is_not_quite_the_compact_one_is_refused(change: Any) -> None:
    changed = change(good_token(padding=">>>???AAA"))
    assert changed != good_token(padding=">>>???AAA")
    assert not await accepted(changed)


async def test_a_token_of_no_provider_of_ours_is_refused() -> None:
    async def nobody(_issuer: str) -> None:
        return None

    async def fetch(_issuer: str) -> tuple[Key, ...]:
        raise AssertionError("nobody has to be asked for keys")

    with pytest.raises(Refused):
        await Verifier(nobody, ProviderKeys(fetch)).verify(good_token())


async def test_a_token_that_cannot_pass_has_nobody_asked_for_keys() -> None:
    async def find(_issuer: str) -> tuple[Provider, float]:
        return PROVIDER, NOW

    async def fetch(_issuer: str) -> tuple[Key, ...]:
        raise AssertionError("nobody has to be asked for keys")

    checking = Verifier(find, ProviderKeys(fetch))
    for text in (good_token(aud="x"), good_token(exp=1), token(header(typ="JWT"), claims())):
        with pytest.raises(Refused):
            await checking.verify(text)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([ISSUER, AUDIENCE]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
HEADER_NAMES = st.sampled_from(
    ["alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5c", "x5u", "cty", "zip", "enc"]
)
CLAIM_NAMES = st.sampled_from(["iss", "aud", "sub", "exp", "iat", "nbf", "jti", "groups"])


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,20}"))
def test_no_text_is_anything_but_refused(text: str) -> None:
    assert not asyncio.run(accepted(text))


@given(
    st.dictionaries(HEADER_NAMES, JSON, max_size=4),
    st.dictionaries(CLAIM_NAMES, JSON | st.just(...), max_size=4),
)
def test_whatever_its_own_provider_signs_is_refused_or_within_the_rules(
    head: dict[str, Any], body: dict[str, Any]
) -> None:
    made_header, made_claims = header(**head), claims(**body)
    text = token(made_header, made_claims, algorithm="ES256")
    if not asyncio.run(accepted(text)):
        return
    assert made_header["alg"] == "ES256"
    assert "crit" not in made_header
    assert made_claims["iss"] == ISSUER
    assert AUDIENCE in made_claims["aud"] or "https://other.example.com" in made_claims["aud"]
    assert isinstance(made_claims["sub"], str)
    assert made_claims["exp"] > NOW - 60
    assert made_claims["iat"] <= NOW + 60


def test_the_library_knows_every_algorithm_that_may_be_listed() -> None:
    assert set(ALGORITHMS) <= set(JWSRegistry.algorithms)

"""A bearer's form says who reads it, and each form is read by one reader alone."""

import pytest
from fastapi import Request

from app.adapters.oauth.authenticator import ApiAuthenticator
from app.domain.errors import Unauthenticated
from app.http.authorization import Caller, Role
from app.lib.ids import new_id


class Reader:
    """A reader that takes every bearer and remembers it."""

    def __init__(self) -> None:
        self.read: list[str] = []

    async def __call__(self, request: Request, session: object, bearer: str) -> Caller:
        self.read.append(bearer)
        return Caller("service_account", new_id(), frozenset({Role.AUDITOR}))


def request(*authorizations: str) -> Request:
    headers = [(b"authorization", value.encode("latin-1")) for value in authorizations]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("bearer", "reader"),
    [
        ("sgb_1_2", "ours"),
        ("sgb_a.b.c", "ours"),
        ("sgt_1_2", None),
        ("sgc_1_2", None),
        ("sgx_a.b.c", None),
        ("sg.b.c", None),
        ("sgb.b.c", None),
        ("a.b.c", "tokens"),
        ("a.b.c.d", None),
        ("a.b", None),
        ("abc", None),
        ("", None),
        ("a.b.\u00e4", None),
    ],
)
async def test_each_form_goes_to_its_reader(bearer: str, reader: str | None) -> None:
    ours, tokens = Reader(), Reader()
    authenticate = ApiAuthenticator({"sgb": ours}, tokens)
    asked = authenticate(request(f"Bearer {bearer}"), None)  # type: ignore[arg-type]
    if reader is None:
        with pytest.raises(Unauthenticated):
            await asked
    else:
        await asked
    assert ours.read == ([bearer] if reader == "ours" else [])
    assert tokens.read == ([bearer] if reader == "tokens" else [])

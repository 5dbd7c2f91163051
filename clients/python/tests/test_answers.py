"""What comes back: models, exceptions, and what is no answer of Scopegate."""

import json
import logging
import pickle
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from scopegate_client import Secret, errors
from scopegate_client.errors import ApiError, InvalidArgument, SecretNotShown, UnexpectedAnswer
from scopegate_client.models import BearerCredential, GrantsScope, ListedScope, Token
from scripted_service import Service, group, problem


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequest),
        (401, errors.Unauthenticated),
        (403, errors.PermissionDenied),
        (404, errors.NotFound),
        (405, ApiError),
        (409, errors.Conflict),
        (412, errors.PreconditionFailed),
        (422, errors.ValidationFailed),
        (428, errors.PreconditionRequired),
        (429, errors.RateLimited),
        (500, errors.ServerFault),
        (503, errors.Unavailable),
    ],
)
def test_each_problem_becomes_its_exception(service: Service, status: int, kind: type[ApiError]) -> None:
    wrong = [{"pointer": "/name", "code": "too_short", "detail": "At least one character."}]
    service.answers = [problem(status, "some_code", "This is why.", errors=wrong)]
    with service.client(access_token="jwt", retries=0) as client, pytest.raises(ApiError) as raised:
        client.groups.create(name="")
    error = raised.value
    assert type(error) is kind
    assert (error.status, error.code, error.detail, error.request_id) == (
        status,
        "some_code",
        "This is why.",
        "req_1",
    )
    assert [(one.pointer, one.code) for one in error.errors] == [("/name", "too_short")]
    why = "/name: At least one character." if status == 422 else "This is why."
    assert str(error) == f"{why} ({status} some_code, req_1)"


def test_an_error_gets_through_to_another_process(service: Service) -> None:
    service.answers = [problem(409, "name_taken")]
    with service.client() as client, pytest.raises(errors.Conflict) as raised:
        client.groups.create(name="platform")
    there = pickle.loads(pickle.dumps(raised.value))
    assert (type(there), there.code, str(there)) == (errors.Conflict, "name_taken", str(raised.value))


def test_an_error_of_something_before_scopegate_is_told_as_well_as_it_can_be(service: Service) -> None:
    service.answers = [
        httpx.Response(502, text="<html>Bad Gateway</html>", headers={"X-Request-ID": "req_7"})
    ]
    with service.client(retries=0) as client, pytest.raises(errors.ServerFault) as raised:
        client.groups.get("grp_1")
    assert str(raised.value) == "scopegate.test answered 502 Bad Gateway. (502 http_502, req_7)"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.Response(200, text="<html>Welcome</html>"), "instead of JSON"),
        (httpx.Response(307, headers={"Location": "https://sso.test/"}), "points to https://sso.test/"),
        (httpx.Response(200, json={"id": "grp_1"}), "install the version"),
        (httpx.Response(200, json=[]), "install the version"),
    ],
)
def test_what_is_no_answer_of_scopegate_is_said_so(
    service: Service, answer: httpx.Response, message: str
) -> None:
    service.answers = [answer]
    with service.client() as client, pytest.raises(UnexpectedAnswer, match=message):
        client.groups.get("grp_1")


def test_a_field_that_is_new_does_no_harm(service: Service) -> None:
    body = json.loads(group().content) | {"invented_later": 1, "source": "invented-too"}
    service.answers = [httpx.Response(200, json=body)]
    with service.client() as client:
        assert client.groups.get("grp_1").source == "invented-too"  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("id", ["", "../grp_1", "grp_1/members", "grp 1", None])
def test_an_id_that_would_lead_elsewhere_is_not_sent(service: Service, id: Any) -> None:
    with service.client() as client, pytest.raises(InvalidArgument, match="group_id has to be an id"):
        client.groups.delete(id)


def test_a_time_without_a_zone_is_not_sent(service: Service) -> None:
    with service.client() as client, pytest.raises(InvalidArgument, match="expires_at needs a time zone"):
        client.tokens.create(
            identity_id="idn_1",
            name="laptop",
            scope=GrantsScope(),
            expires_at=datetime(2027, 1, 1),  # noqa: DTZ001 - the fault itself
        )


def test_bodies_hold_what_was_given_and_nothing_else(service: Service) -> None:
    service.answers = [problem(404, "not_found")]
    ends = datetime(2027, 1, 1, tzinfo=UTC)
    with service.client() as client, pytest.raises(errors.NotFound):
        client.tokens.create(
            identity_id="idn_1", name="laptop", scope=ListedScope(entries=[]), expires_at=ends, parent_id=None
        )
    assert json.loads(service.requests[0].content) == {
        "identity_id": "idn_1",
        "name": "laptop",
        "scope": {"kind": "listed", "entries": []},
        "expires_at": "2027-01-01T00:00:00+00:00",
        "parent_id": None,
    }


@pytest.mark.parametrize("key", ["", "two words", "é", "x" * 256, "a\nb"])
def test_a_key_that_no_header_can_hold_is_not_sent(service: Service, key: str) -> None:
    with service.client() as client, pytest.raises(InvalidArgument, match="Idempotency-Key must have"):
        client.groups.create(name="x", idempotency_key=key)


def test_an_answer_that_cannot_be_unpacked_is_said_so(service: Service) -> None:
    service.answers = [httpx.DecodingError("incorrect header check")] * 4
    with service.client() as client, pytest.raises(UnexpectedAnswer, match="cannot be decompressed"):
        client.groups.get("grp_1")


def test_what_json_cannot_hold_is_said_so(service: Service) -> None:
    with (
        service.client() as client,
        pytest.raises(InvalidArgument, match=r"labels\.env cannot be sent: object"),
    ):
        client.servers.create(slug="notes", labels={"env": object()})


def test_a_filter_takes_one_value_or_several(service: Service) -> None:
    service.answers = [httpx.Response(200, json={"items": [], "next_cursor": None})] * 2
    with service.client() as client:
        list(client.tokens.list(status="active", identity_id=("idn_1", "idn_2")))
        list(client.tokens.list())
    assert str(service.requests[0].url.query, "ascii") == "identity_id=idn_1&identity_id=idn_2&status=active"
    assert service.requests[1].url.query == b""


def test_a_revision_becomes_an_entity_tag(service: Service) -> None:
    service.answers = [group(), group(), group(), group()]
    with service.client() as client:
        client.groups.update("grp_1", name="x", if_match=3)
        client.groups.update("grp_1", name="x", if_match='"4"')
        client.groups.update("grp_1", name="x", if_match="*")
        client.groups.update("grp_1", name="x")
    assert [request.headers.get("If-Match") for request in service.requests] == ['"3"', '"4"', "*", None]


def test_a_secret_shows_itself_to_nobody_who_does_not_ask(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    secret = Secret("sgt_s3cret")
    credential = BearerCredential(token="sgt_s3cret")
    logging.getLogger("test").warning("%s %r", secret, credential)
    shown = [str(secret), repr(secret), f"{secret}", str({"a": secret}), repr(credential), caplog.text]
    shown += [str(credential.to_dict())]
    assert not any("s3cret" in text for text in shown)
    assert (secret.reveal(), credential.token) == ("sgt_s3cret", secret)
    with pytest.raises(TypeError):
        json.dumps({"secret": secret})
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_a_secret_in_a_body_is_sent(service: Service) -> None:
    service.answers = [problem(404, "not_found")]
    with service.client() as client, pytest.raises(errors.NotFound):
        client.servers.set_credential("srv_1", BearerCredential(token=Secret("s3cret")))
    assert json.loads(service.requests[0].content) == {"kind": "bearer", "token": "s3cret"}


def test_a_secret_that_was_not_shown_again_says_what_to_do() -> None:
    absent = Secret(None)
    assert not absent
    with pytest.raises(SecretNotShown, match="create another"):
        absent.reveal()


def test_models_may_be_given_as_the_contract_has_them() -> None:
    scope = {"kind": "listed", "entries": [{"servers": {"kind": "all"}, "tools": {"kind": "all"}}]}
    assert ListedScope.from_dict(scope).entries[0].servers.kind == "all"
    assert "Token" in Token.__name__

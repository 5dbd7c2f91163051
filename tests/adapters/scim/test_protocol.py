"""Around every SCIM request: who may send it, what it may be, how errors are told, and what is recorded of it."""

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from fastapi import FastAPI, Request
from scim2_server.conditions import EntityTags
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.adapters.scim import routes
from app.adapters.scim.routes import ScimRoute
from app.adapters.scim.service import Service
from app.adapters.scim.work import MAX_WAITING, MIN_THREADED_BYTES, error_of, read_in_thread
from app.domain import errors
from app.http.authorization import Role
from tests.adapters.scim.conftest import NewScim, patch, provider_of, user
from tests.adapters.scim.test_users import create, refused
from tests.api import Account, client_of, make_account
from tests.features.principals import Json, Sessions, events

if TYPE_CHECKING:
    from app.crypto.keys import Peppers
    from app.main import Scopegate

BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"


def bulk(*operations: Json, **fields: Any) -> Json:
    return {"schemas": [BULK], "Operations": list(operations), **fields}


async def test_what_is_announced_is_what_there_is(scim: httpx2.AsyncClient) -> None:
    config = (await scim.get("ServiceProviderConfig")).json()
    supported = {
        name: config[name]["supported"] for name in ("patch", "bulk", "filter", "sort", "changePassword")
    }
    assert supported == {"patch": True, "bulk": True, "filter": True, "sort": True, "changePassword": False}
    assert config["bulk"] == {"supported": True, "maxOperations": 100, "maxPayloadSize": 1 << 20}
    assert config["filter"]["maxResults"] == 200
    assert [scheme["type"] for scheme in config["authenticationSchemes"]] == ["oauthbearertoken"]
    assert config["meta"]["location"] == "http://127.0.0.1:8080/scim/v2/ServiceProviderConfig"
    for path, names in (
        ("ResourceTypes", {"User", "Group"}),
        ("Schemas", {"User", "EnterpriseUser", "Group"}),
    ):
        listed = (await scim.get(path)).json()
        assert {one["name"] for one in listed["Resources"]} == names
        for one in listed["Resources"]:
            alone = await scim.get(f"{path}/{one['id']}")
            assert alone.json() == one
        refused(await scim.get(path, params={"filter": 'name eq "User"'}), 403)
        refused(await scim.get(f"{path}/nothing"), 404)
    (person,) = [one for one in (await scim.get("Schemas")).json()["Resources"] if one["name"] == "User"]
    # Of the standard's others it says that nobody writes or is shown them.
    attributes = {one["name"] for one in person["attributes"] if one["returned"] != "never"}
    rest = {
        (one["mutability"], one["required"]) for one in person["attributes"] if one["returned"] == "never"
    }
    assert rest == {("readOnly", False)}
    assert attributes == {
        "userName", "name", "displayName", "title", "userType", "preferredLanguage", "locale", "timezone", "active",
        "emails", "groups",
    }  # fmt: skip


async def test_json_without_one_meaning_is_refused_in_scims_own_words(scim: httpx2.AsyncClient) -> None:
    written = json.dumps(user("ada"))
    bad = {
        "an attribute twice": f'{{"userName": "eve", {written[1:]}'.encode(),
        "an attribute twice in another case": f'{{"USERNAME": "eve", {written[1:]}'.encode(),
        "a byte order mark": b"\xef\xbb\xbf" + written.encode(),
        "UTF-16": written.encode("utf-16"),
        "NaN": f'{{"x": NaN, {written[1:]}'.encode(),
        "a huge integer": f'{{"x": {"9" * 401}, {written[1:]}'.encode(),
        "half of a surrogate pair": written.replace("ada", "\\ud800").encode(),
        "too deep": b"[" * 10_000,
    }
    for name, body in bad.items():
        for method, path in (("POST", "Users"), ("PUT", "Users/x"), ("PATCH", "Users/x"), ("POST", "Bulk")):
            answer = await scim.request(
                method, path, content=body, headers={"Content-Type": "application/scim+json"}
            )
            refused(answer, 400, "invalidSyntax")
            assert answer.json()["detail"], name
    assert (await scim.get("Users")).json()["totalResults"] == 0


async def test_only_the_service_account_that_a_provider_names_gets_in(
    app: "Scopegate",
    api: httpx2.AsyncClient,
    new_scim: NewScim,
    sessions: Sessions,
    peppers: "Peppers",
    owner: Account,
) -> None:
    scim = await new_scim()
    base = str(scim.base_url)
    async with client_of(app) as nobody:
        for bearer in (None, "sgc_no", "sgt_" + "x" * 71, "Basic", scim.headers["authorization"][7:-1] + "x"):
            headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
            answer = await nobody.get(f"{base}Users", headers=headers)
            refused(answer, 401)
            assert answer.headers["www-authenticate"] == 'Bearer realm="scopegate"'
        twice = [("Authorization", scim.headers["authorization"])] * 2
        refused(await nobody.get(f"{base}Users", headers=twice), 400, "invalidSyntax")
    stranger = await make_account(sessions, peppers, Role.OWNER)
    async with client_of(app, stranger.secret) as other:
        refused(await other.get(f"{base}Users"), 403)
        # The secret itself opens nothing else.
        assert (await other.get("/api/v1/identities")).status_code == 401
    # Whatever the account may no more is refused at once, and so is all of a provider that is disabled.
    shown = await create(scim, user("ada"))
    (account,) = [
        one
        for one in (await api.get("/api/v1/service-accounts")).json()["items"]
        if one["name"].startswith("SCIM of")
    ]
    path = f"/api/v1/service-accounts/{account['id']}"
    assert (await api.patch(path, json={"role": "auditor"})).status_code == 200
    assert (await scim.get(f"Users/{shown['id']}")).status_code == 200
    refused(await scim.put(f"Users/{shown['id']}", json=user("eve")), 403)
    refused(await scim.delete(f"Users/{shown['id']}"), 403)
    assert (await scim.get(f"Users/{shown['id']}")).json() == shown
    assert (await api.patch(path, json={"role": "provisioner"})).status_code == 200
    provider = f"/api/v1/identity-providers/{provider_of(scim)}"
    assert (await api.patch(provider, json={"status": "disabled"})).status_code == 200
    refused(await scim.get(f"Users/{shown['id']}"), 403)
    assert [action for action, _ in await events(sessions, shown)].count("scim.request") == 6


async def test_no_answer_is_in_another_form(scim: httpx2.AsyncClient, api: httpx2.AsyncClient) -> None:
    shown = await create(scim, user("ada"))
    path = f"Users/{shown['id']}"
    scim_json = {"Content-Type": "application/scim+json"}
    for method, where, body, headers, status, scim_type in (
        ("GET", "Nothing", b"", {}, 404, None),
        ("GET", "Users/x", b"", {}, 404, None),
        ("GET", "Users/idn_00000000000000000000000000", b"", {}, 404, None),
        ("GET", "Users/a/b", b"", {}, 404, None),
        ("GET", "Users/%00", b"", {}, 404, None),
        ("PUT", "Users", b"{}", scim_json, 405, None),
        ("BREW", "Users", b"", {}, 405, None),
        ("OPTIONS", "Users", b"", {}, 405, None),
        ("POST", "Users", b"{}", {"Content-Type": "text/plain"}, 415, None),
        ("POST", "Users", b"{}", {**scim_json, "Content-Encoding": "gzip"}, 415, None),
        ("POST", "Users", b"{", scim_json, 400, "invalidSyntax"),
        ("POST", "Users", b"[]", scim_json, 400, "invalidSyntax"),
        ("POST", "Users", b"{}", scim_json, 400, "invalidValue"),
        ("POST", "Users", b'{"userName": ""}', scim_json, 400, "invalidValue"),
        ("POST", "Users", b'{"userName": 7}', scim_json, 400, "invalidValue"),
        ("POST", "Users", b'{"userName": "\\u0000"}', scim_json, 400, "invalidSyntax"),
        ("POST", "Users", b'{"userName": "' + b"x" * 201 + b'"}', scim_json, 400, "invalidValue"),
        ("POST", "Users", b'{"userName": "u", "title": "' + b"x" * 1001 + b'"}', scim_json, 400, "invalidValue"),
        ("POST", "Users", b'{"userName": "' + b"x" * (1 << 20) + b'"}', scim_json, 413, None),
        ("PATCH", path, b'{"Operations": [{"op": "no", "path": "title"}]}', scim_json, 400, "invalidValue"),
        ("PATCH", path, b'{"Operations": [{"op": "remove"}]}', scim_json, 400, "noTarget"),
        ("PATCH", path, b'{"Operations": [{"op": "remove", "path": "userName"}]}', scim_json, 400, "mutability"),
        ("PATCH", path, b'{"Operations": [{"op": "add", "path": "a b", "value": 1}]}', scim_json, 400, "invalidPath"),
        # The filter of a path has escapes of its own, and may say what a new address is.
        (
            "PATCH", path,
            b'{"Operations": [{"op": "add", "path": "emails[type eq \\"\\\\u0000\\"].value", "value": "x"}]}',
            scim_json, 400, "invalidValue",
        ),
        ("POST", "Users/.search", b'{"excludedAttributes": "' + b"x," * 200 + b'x"}', scim_json, 400, "invalidValue"),
        ("GET", "Users?attributes=" + "x," * 200 + "x", b"", {}, 400, "invalidValue"),
        ("POST", "Users/.search", b'{"attributes": [' + b'"x",' * 200 + b'"x"]}', scim_json, 400, "invalidValue"),
        ("GET", "Users?count=1&count=2", b"", {}, 400, "invalidValue"),
        ("GET", "Users?filter=nonsense", b"", {}, 400, "invalidFilter"),
        ("POST", "Me", b"{}", scim_json, 501, None),
        ("POST", "Bulk", b"{}", scim_json, 400, "invalidValue"),
    ):  # fmt: skip
        answer = await scim.request(method, where, content=body, headers=headers)
        refused(answer, status, scim_type)
        assert answer.headers["x-request-id"]
        assert answer.headers["cache-control"] == "no-store"
        if status == 405:
            assert "GET" in answer.headers["allow"]
    many = bulk(*[{"method": "DELETE", "path": f"/{path}"}] * 101)
    refused(await scim.post("Bulk", json=many), 413)
    assert (await scim.get(path)).json() == shown
    # As many send it: plain JSON, and a slash at the end.
    answer = await scim.post("Users/", json=user("bob"), headers={"Content-Type": "application/json"})
    assert answer.status_code == 201, answer.text
    assert (await scim.get(f"Users/{answer.json()['id']}/")).json() == answer.json()


async def test_large_bodies_are_read_beside_the_calls_of_a_worker(
    scim: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[str] = []
    read_body = Service.read_body

    def read(self: Service, *args: Any) -> Any:
        readers.append(threading.current_thread().name)
        return read_body(self, *args)

    monkeypatch.setattr(Service, "read_body", read)
    ada = await create(scim, user("ada"))
    assert readers.pop() == threading.main_thread().name
    team = {"displayName": "all", "members": [{"value": ada["id"]}] * 5_000}
    made = await scim.post("Groups", json=team)
    assert made.status_code == 201, made.text
    path = f"Groups/{made.json()['id']}"
    assert (await scim.put(path, json=team)).status_code == 200
    put = {"method": "PUT", "path": f"/{path}", "data": team}
    (outcome,) = (await scim.post("Bulk", json=bulk(put))).json()["Operations"]
    assert outcome["status"] == "200"
    # What is wrong in there is told as of any other.
    refused(await scim.post("Groups", json=team | {"displayName": 7}), 400, "invalidValue")
    deep = await scim.post("Groups", content="[" * 50_000, headers={"Content-Type": "application/json"})
    refused(deep, 400, "invalidSyntax")
    assert len(readers) == 4
    assert all(name.startswith("scim-bodies") for name in readers)


async def test_no_more_large_bodies_wait_than_leave_others_a_connection() -> None:
    body, go = b"x" * (MIN_THREADED_BYTES + 1), threading.Event()
    reading = [asyncio.create_task(read_in_thread(body, go.wait)) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(errors.Unavailable):
        await read_in_thread(body, go.wait)
    assert await read_in_thread(b"x", lambda: 7) == 7
    go.set()
    assert await asyncio.gather(*reading) == [True] * MAX_WAITING
    assert await read_in_thread(body, lambda: 7) == 7


async def test_entity_tags_without_end_are_not_read(
    scim: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    parse = EntityTags.parse

    def parsed(header: str | None) -> EntityTags | None:
        read.append(header or "")
        return parse(header)

    monkeypatch.setattr(EntityTags, "parse", parsed)
    ada = await create(scim, user("ada"))
    made = await scim.post("Groups", json={"displayName": "all"})
    tags = "x" + " " * 1_100 + "x"
    for path, body in (
        (f"Users/{ada['id']}", user("ada")),
        (f"Groups/{made.json()['id']}", {"displayName": "all"}),
    ):
        title = patch({"op": "replace", "path": "displayName", "value": "x"})
        for header in ("If-Match", "If-None-Match"):
            refused(await scim.put(path, json=body, headers={header: tags}), 400, "invalidValue")
            refused(await scim.patch(path, json=title, headers={header: tags}), 400, "invalidValue")
            refused(await scim.delete(path, headers={header: tags}), 400, "invalidValue")
            refused(await scim.get(path, headers={header: tags}), 400, "invalidValue")
        operations = [
            {"method": method, "path": f"/{path}", "version": tags * 100, "data": data}
            for method, data in (("PUT", body), ("PATCH", title), ("DELETE", None))
        ]
        outcomes = (await scim.post("Bulk", json=bulk(*operations))).json()["Operations"]
        assert [one["status"] for one in outcomes] == ["400"] * 3
    assert tags not in "".join(read)


@pytest.mark.parametrize(
    ("error", "status", "scim_type", "header"),
    [
        (errors.Unauthenticated("x"), 401, None, "www-authenticate"),
        (errors.Forbidden("x"), 403, None, None),
        (errors.Invalid("x"), 400, "invalidValue", None),
        (errors.Conflict("x"), 409, None, None),
        (errors.Conflict("x", code="name_taken"), 409, "uniqueness", None),
        (errors.PreconditionFailed("x"), 412, None, None),
        (errors.TooManyRequests("x", retry_after_s=7), 429, None, "retry-after"),
        (errors.Unavailable("x", retry_after_s=7), 503, None, "retry-after"),
    ],
)
async def test_our_errors_have_the_form_of_the_standard(
    error: errors.DomainError, status: int, scim_type: str | None, header: str | None
) -> None:
    app = FastAPI()
    app.router.route_class = ScimRoute

    @app.get("/Users")
    async def fail(request: Request) -> None:
        raise error

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1") as client:
        answer = await client.get("/Users")
    refused(answer, status, scim_type)
    assert header is None or answer.headers[header]
    # Of a bulk request too; but what is nobody's mistake ends all of it.
    told = Service.error_of(error) if status != 503 else error_of(error)
    assert (told.status, told.scim_type) == (status, scim_type)


async def test_a_refusal_that_cannot_be_recorded_is_not_told(
    scim: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fault in (PoolTimeout("x"), OSError("x"), errors.Unavailable("x")):

        async def record_request(*_: object, fault: Exception = fault, **__: object) -> None:
            raise fault

        monkeypatch.setattr(routes, "record_request", record_request)
        answer = await scim.get("Nothing")
        refused(answer, 503)
        assert answer.headers["retry-after"]


def test_a_fault_in_a_bulk_request_is_none_of_its_outcomes() -> None:
    for fault in (errors.Unavailable("x"), RuntimeError("x")):
        with pytest.raises(type(fault)):
            Service.error_of(fault)


async def test_a_bulk_request_undoes_what_failed_and_keeps_the_rest(
    scim: httpx2.AsyncClient, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ada = await create(scim, user("ada"))
    ada_path = f"/Users/{ada['id']}"
    both = {"op": "replace", "value": {"title": "Dr", "active": False}}
    answer = await scim.post(
        "Bulk",
        json=bulk(
            {
                "method": "POST",
                "path": "/Users",
                "bulkId": "1",
                "data": user("bob", active="False", password="hunter2"),
            },
            {"method": "POST", "path": "/Users", "bulkId": "2", "data": user("ada", externalId="other")},
            {"method": "PUT", "path": ada_path, "data": user("bob")},
            {"method": "PATCH", "path": ada_path, "version": 'W/"9"', "data": patch(both)},
            {"method": "PATCH", "path": ada_path, "version": 'W/"1"', "data": patch(both)},
            {"method": "DELETE", "path": "/Users/nobody"},
            {"method": "POST", "path": "/Users", "bulkId": "3", "data": user("cyd")},
        ),
    )
    assert answer.status_code == 200, answer.text
    outcomes = answer.json()["Operations"]
    assert [one["status"] for one in outcomes] == ["201", "409", "409", "412", "200", "404", "201"]
    assert outcomes[1]["response"]["scimType"] == "uniqueness"
    shown = (await scim.get(ada_path.strip("/"))).json()
    assert (shown["userName"], shown["title"], shown["active"]) == ("ada", "Dr", False)
    assert outcomes[4]["version"] == shown["meta"]["version"]
    status = {
        one["user_name"]: one["status"]
        for one in (await api.get("/api/v1/identities?source=scim")).json()["items"]
    }
    assert status == {"ada": "offboarded", "bob": "offboarded", "cyd": "active"}
    # Recorded as the one request that it is, with what it did and without what it did not.
    (said,) = [
        changes
        for action, changes in await events(sessions, {"id": provider_of(scim)})
        if action == "scim.request"
    ]
    ids = {
        outcome["location"].rpartition("/")[2] for outcome in outcomes if outcome["status"] in {"200", "201"}
    }
    assert (said["method"], said["resource"], said["status"]) == ("POST", "bulk", 200)
    assert {effect for effect in said["effects"] if effect.startswith("idn_")} == ids
    # At the first error it stops; what was done before stays.
    answer = await scim.post(
        "Bulk",
        json=bulk(
            {"method": "POST", "path": "/Users", "bulkId": "1", "data": user("dan")},
            {"method": "POST", "path": "/Users", "bulkId": "2", "data": user("dan")},
            {"method": "POST", "path": "/Users", "bulkId": "3", "data": user("eve")},
            failOnErrors=1,
        ),
    )
    assert [one["status"] for one in answer.json()["Operations"]] == ["201", "409"]


async def test_what_is_recorded_names_no_one(
    scim: httpx2.AsyncClient, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    shown = await create(scim, user("quaxolotl"))
    await scim.get("Users", params={"filter": 'userName eq "quaxolotl"'})
    refused(await scim.get("Users/quaxolotl"), 404)
    refused(await scim.get("quaxolotl"), 404)
    refused(await scim.get("Users/x/quaxolotl/y"), 404)
    refused(await scim.post("Users", json=user("quaxolotl")), 409, "uniqueness")
    listed = (await api.get("/api/v1/audit-events?limit=200")).json()["items"]
    mine = [event for event in listed if event["action"] == "scim.request"]
    told = [(event["changes"]["resource"], event["changes"]["status"], event["outcome"]) for event in mine]
    assert told[::-1] == [
        ("Users.create", 201, "success"),
        ("Users.search", 200, "success"),
        ("Users.query", 404, "error"),
        ("unknown.search", 404, "error"),
        ("unknown", 404, "error"),
        ("Users.create", 409, "error"),
    ]
    assert mine[-1]["object"] == {"type": "identity", "id": shown["id"]}
    assert mine[-1]["changes"]["effects"] == [shown["id"]]
    assert {event["object"]["id"] for event in mine[:-1]} == {provider_of(scim)}
    assert "quaxolotl" not in str([event["changes"] for event in mine]).lower()
    assert mine[0]["actor"]["type"] == "service_account"

"""Forms are read once and strictly, checked by the API's models, and say what is wrong where it is wrong."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.requests import Request

from app.adapters.console.context import PageContext, _ids_in
from app.adapters.console.forms import Problems, pager, read_form, read_query, validate
from app.db.clock import transaction_time
from app.domain.errors import Conflict, Forbidden, Invalid, Malformed
from app.http.pagination import ListQuery
from app.http.service_address import ServiceAddress


class Inner(BaseModel):
    at: int


class Made(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=5)
    inner: list[Inner] = []


class Wanted(ListQuery):
    status: list[str] = Field(default_factory=list)
    q: str | None = None


def request(query: str = "", form: bool = True) -> Request:
    kind = b"application/x-www-form-urlencoded; charset=utf-8" if form else b"application/json"
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/console/x",
            "query_string": query.encode(),
            "headers": [(b"content-type", kind), (b"host", b"gate.example.com")],
            "scheme": "http",
            "server": ("gate.example.com", 80),
        }
    )


def test_a_field_is_read_once_and_a_choice_of_many_whole() -> None:
    form = read_form(request(), b"a=+x+&tools=1&tools=2&note=l1%0D%0Al2", 100)
    assert form.text("a") == "x"
    assert form.text("b", "default") == "default"
    assert form.texts("tools") == ["1", "2"]
    assert form.raw("note") == "l1\nl2"
    assert (form.flag("a"), form.flag("b")) == (True, False)
    for read in (form.text, form.raw):
        with pytest.raises(Malformed):
            read("tools")


@pytest.mark.parametrize("body", [b"a=%00", b"a", b"a=\xff", b"a=" + b"x" * 100, b"a=%ff"])
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_form(request(), body, 100)
    with pytest.raises(Malformed):
        read_form(request(form=False), b"a=1", 100)


def test_what_is_wrong_is_said_where_it_is() -> None:
    with pytest.raises(Invalid) as refused:
        validate(Made, {"name": "too long a name", "inner": [{"at": 1}, {"at": "x"}]})
    problems = Problems(refused.value)
    assert problems
    assert problems.status == 422
    assert len(problems.at("/name")) == len(problems.at("/inner")) == len(problems.at("/inner/1/at")) == 1
    assert problems.at("/inner/0") == problems.at("/inn") == []
    assert problems.everywhere[0] == ("Name", "String should have at most 5 characters.")
    assert validate(Made, {"name": "short"}).name == "short"
    assert not Problems()


@pytest.mark.parametrize(
    ("pointer", "words"),
    [
        ("/principal/id", "Holder"),
        ("/owner_group_id", "Owner group"),
        ("/display_name", "Display name"),
        ("/servers/ids/ids/2", "Servers, no. 3"),
        ("/tests/0/request/arguments", "Tests, no. 1, request, arguments"),
        ("/items/1/grant_id", "Grants, no. 2, grant"),
        ("/parameters/group_id", "Group"),
        ("/labels/7", "Labels, 7"),
        ("/variables/API_KEY", "Environment variables, API_KEY"),
        ("/access/expires_at", "Expiry"),
        ("/access", "Access"),
        ("/", "The form"),
        ("", "The form"),
        ("?from", "From"),
    ],
)
def test_a_place_that_the_page_has_no_field_for_is_named_in_words(pointer: str, words: str) -> None:
    assert Problems(Invalid.field(pointer, "wrong", "It is wrong.")).everywhere == [(words, "It is wrong.")]


def _refuse() -> None:
    raise Conflict("Taken.", code="slug_taken")


async def test_what_a_form_asked_for_is_undone_where_it_is_refused_and_the_page_goes_on(
    sessions: async_sessionmaker[AsyncSession],
) -> None:
    viewer: Any = SimpleNamespace(caller=None)
    asked = request()
    asked.scope["app"] = SimpleNamespace(state=SimpleNamespace(runtime=None, access=None, console=None))
    asked.state.request_id = None
    async with sessions() as session:
        await session.execute(text("CREATE TEMPORARY TABLE tried (x int)"))
        now = await transaction_time(session)
        context = PageContext(asked, session, viewer, now)
        async with context.attempt():
            await session.execute(text("INSERT INTO tried VALUES (1)"))
            _refuse()
        assert (context.problems.status, context.problems.code) == (409, "slug_taken")
        assert (await session.execute(text("SELECT count(*) FROM tried"))).scalar_one() == 0
        context = PageContext(asked, session, viewer, now)
        async with context.attempt():
            await session.execute(text("INSERT INTO tried VALUES (2)"))
        assert not context.problems
        assert (await session.execute(text("SELECT count(*) FROM tried"))).scalar_one() == 1
        # Who may not do it at all gets a page that says so, not the form again.
        with pytest.raises(Forbidden):
            async with context.attempt():
                raise Forbidden("No.")


def test_the_filters_of_an_address_are_those_of_the_api_and_no_others() -> None:
    wanted = read_query(Wanted, request("q=&status=active&status=ended&tab=x&limit=3"), limit=25)
    assert (wanted.q, wanted.status, wanted.limit) == (None, ["active", "ended"], 25)
    bad: tuple[dict[str, Any], ...] = ({"query": "q=a&q=b"}, {"query": f"cursor={'x' * 9000}"})
    for one in bad:
        with pytest.raises(Malformed):
            read_query(Wanted, request(**one))


def test_the_pages_of_a_list_keep_its_filters() -> None:
    here = request("q=a+b&status=active&cursor=old")
    address = "/console/x?q=a+b&status=active"
    assert pager(here, "new") == {"more": f"{address}&cursor=new", "first": address}
    assert pager(request("q=a"), None) == {"more": None, "first": None}
    assert pager(request("cursor=c"), None)["first"] == "/console/x"


@pytest.mark.parametrize(
    ("public_url", "origin"),
    [
        ("https://gate.example.com", "https://gate.example.com"),
        ("https://Gate.example.com:443", "https://gate.example.com"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("https://gate.example.com:8443", "https://gate.example.com:8443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_origin_of_our_forms_is_what_browsers_say(public_url: str, origin: str) -> None:
    assert ServiceAddress(public_url).origin == origin


class Named(BaseModel):
    owner_id: UUID | None
    members: list[UUID]
    schema_of_it: dict[str, Any]


def test_the_ids_in_what_a_page_shows_are_found_in_models_and_in_the_beginning_of_lists() -> None:
    a, b, c = UUID(int=1), UUID(int=2), UUID(int=3)
    shown = Named(owner_id=a, members=[b, c, c], schema_of_it={"$id": [a]})
    assert list(_ids_in([shown, None, "text"], None)) == [a, b, c, c]
    assert list(_ids_in(shown, 1)) == [a, b]
    assert list(_ids_in((shown, c), 1)) == [a, b]

"""Lists that go on page after page, and lists that grow."""

import json
from itertools import islice

import attrs
import httpx
import pytest
from scopegate_client.errors import BadRequest
from scopegate_client.models import AuditEvent
from scripted_service import Service, group, problem


def page(names: str, following: str | None) -> httpx.Response:
    """A page of groups whose names are these letters."""
    items = [json.loads(group(name).content) for name in names]
    return httpx.Response(200, json={"items": items, "next_cursor": following})


def events(ids: str, following: str) -> httpx.Response:
    """A page of the audit trail: events whose ids are these letters."""
    time, actor = "2026-01-05T09:00:00Z", {"type": "system", "id": None, "name": None}
    nothing = dict.fromkeys(field.name for field in attrs.fields(AuditEvent))
    items = [nothing | {"id": id, "time": time, "action": "x", "actor": actor} for id in ids]
    return httpx.Response(200, json={"items": items, "next_cursor": following})


def places(service: Service, parameter: str) -> list[str | None]:
    """Where the requests asked to begin."""
    return [request.url.params.get(parameter) for request in service.requests]


def test_pages_are_fetched_as_one_goes(service: Service) -> None:
    service.answers = [page("ab", "p2")]
    with service.client() as client:
        listing = client.groups.list(q="x")
        assert not service.requests, "nothing is asked for before somebody looks"
        assert [found.name for found in islice(listing, 2)] == ["a", "b"]


def test_each_iteration_starts_anew(service: Service) -> None:
    service.answers = [page("ab", "p2"), page("c", None)] * 2
    with service.client() as client:
        listing = client.groups.list()
        assert [found.name for found in listing] == ["a", "b", "c"]
        assert [[found.name for found in one.items] for one in listing.pages()] == [["a", "b"], ["c"]]
    assert places(service, "cursor") == [None, "p2", None, "p2"]


def test_the_first_of_nothing_is_none(service: Service) -> None:
    service.answers = [page("", None), page("ab", "p2")]
    with service.client() as client:
        assert client.groups.list().first() is None
        first = client.groups.list().first()
        assert first is not None
        assert first.name == "a"


async def test_asyncio_lists_alike(service: Service) -> None:
    service.answers = [page("ab", "p2"), page("c", None), page("", None)]
    async with service.async_client() as client:
        assert [found.name async for found in client.groups.list(page_size=2)] == ["a", "b", "c"]
        assert await client.groups.list().first() is None
    assert places(service, "limit") == ["2", "2", None]


def test_following_waits_for_more_and_goes_on_from_there(service: Service) -> None:
    service.answers = [events("ab", "p1"), events("", "p1"), events("c", "p2")]
    with service.client() as client:
        following = client.audit_events.follow(interval=7)
        assert [event.id for event in islice(following, 3)] == ["a", "b", "c"]
    assert places(service, "after") == ["", "p1", "p1"]
    assert service.pauses == [7]


def test_following_does_not_pass_over_what_nobody_has_looked_at(service: Service) -> None:
    service.answers = [events("ab", "p1"), problem(400, "cursor_mismatch")]
    with service.client() as client:
        following = client.audit_events.follow(after="p0")
        items = iter(following)
        assert next(items).id == "a"
        assert following.cursor == "p0", "b was not looked at yet"
        assert next(items).id == "b"
        with pytest.raises(BadRequest):
            next(items)
        assert following.cursor == "p1"


def test_following_stops_at_the_end_when_told_to(service: Service) -> None:
    service.answers = [events("ab", "p1"), events("", "p1")]
    with service.client() as client:
        following = client.audit_events.follow(wait=False)
        assert [event.id for event in following] == ["a", "b"]
    assert (following.cursor, service.pauses) == ("p1", [])


def test_following_goes_on_past_pages_of_which_the_filters_leave_nothing(service: Service) -> None:
    service.answers = [events("", "p1"), events("a", "p2"), events("", "p2")]
    with service.client() as client:
        following = client.audit_events.follow(action="token.issue", wait=False)
        assert [event.id for event in following] == ["a"]
    service.answers = [events("", "p1"), events("a", "p2")]
    with service.client() as client:
        assert next(iter(client.audit_events.follow(action="token.issue", interval=7))).id == "a"
    assert service.pauses == [0.7], "a short pause: there may be more right behind"


def test_following_ends_although_others_write_all_the_time(service: Service) -> None:
    service.answers = [events("", f"p{place}") for place in range(1000)]
    with service.client() as client:
        assert list(client.audit_events.follow(wait=False)) == []


async def test_asyncio_follows_alike(service: Service) -> None:
    service.answers = [events("a", "p1"), events("", "p1"), events("b", "p2")]
    async with service.async_client() as client:
        following = client.audit_events.follow(interval=7)
        found = []
        async for event in following:
            found.append(event.id)
            if event.id == "b":
                break
    assert (found, following.cursor, service.pauses) == (["a", "b"], "p1", [7])

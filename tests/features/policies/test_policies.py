"""Policies: drafts, published versions and their history, and warnings about the current fleet."""

from typing import Any

import httpx2
from sqlalchemy import text

from app.domain.access import POLICY_SET_ID
from app.domain.definitions import definition_digest
from app.lib.ids import format_id, new_id
from app.models.servers import Server, Tool
from tests.api import ApiAs
from tests.features.principals import Json, Sessions, events, fresh, group, history, made, person, pointers

PATH = "/api/v1/policies"
CALL = 'forbid (principal, action == Action::"call_tool", resource == Tool::"{slug}/refund")'
SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "integer"}, "account": {"type": "string"}},
    "required": ["amount"],
}
EVERYTHING = 'forbid (principal, action == Action::"call_tool", resource);'


def tag(revision: int) -> dict[str, str]:
    return {"If-Match": f'"{revision}"'}


async def policy(api: httpx2.AsyncClient, text: str = EVERYTHING, **fields: Any) -> Json:
    return await made(api, "policies", {"name": fresh("policy"), "text": text, **fields})


async def shop(sessions: Sessions) -> str:
    """The slug of a server with a tool that takes an amount."""
    slug = fresh("shop")
    async with sessions() as session:
        server = Server(slug=slug, name="Shop", url="http://127.0.0.1:1/mcp")
        session.add(server)
        await session.flush()
        digest = definition_digest({"name": "refund", "inputSchema": SCHEMA})
        session.add(
            Tool(
                server_id=server.id,
                name="refund",
                input_schema=SCHEMA,
                risk="destructive",
                assessed_risk="destructive",
                state="active",
                definition_digest=digest,
                approved_digest=digest,
            )
        )
        await session.commit()
    return slug


async def set_version(sessions: Sessions) -> int:
    """The version that every decision depends on."""
    async with sessions() as session:
        query = text("SELECT version FROM access_versions WHERE id = :id")
        return int(await session.scalar(query, {"id": POLICY_SET_ID}) or 0)


async def test_a_policy_decides_from_its_publishing_to_its_end_and_keeps_its_past(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    first = EVERYTHING
    second = '@reason("Closed.") ' + EVERYTHING
    draft = await policy(api, first, description="Nothing goes")
    path, start = f"{PATH}/{draft['id']}", await set_version(sessions)
    assert (draft["status"], draft["version"], draft["unpublished_changes"]) == ("draft", None, True)
    assert (await api.get(path)).json() == draft

    changed = (await api.patch(path, json={"mode": "observe"}, headers=tag(1))).json()
    assert (changed["mode"], changed["published_mode"], await set_version(sessions)) == (
        "observe",
        None,
        start,
    )
    published = await api.post(f"{path}/publish", headers=tag(2))
    shown = published.json()["policy"]
    assert (published.json()["changed"], published.headers["etag"], shown["version"]) == (True, '"3"', 1)
    assert (shown["status"], shown["published_text"], shown["published_mode"]) == (
        "published",
        first,
        "observe",
    )
    assert await set_version(sessions) == start + 1
    again = (await api.post(f"{path}/publish", headers=tag(3))).json()
    assert (again["changed"], again["policy"]["revision"], await set_version(sessions)) == (
        False,
        3,
        start + 1,
    )

    edited = (await api.patch(path, json={"text": second, "mode": "enforce"}, headers=tag(3))).json()
    assert (edited["published_text"], edited["unpublished_changes"]) == (first, True)
    assert await set_version(sessions) == start + 1
    shown = (await api.post(f"{path}/publish", headers=tag(4))).json()["policy"]
    assert (shown["version"], shown["published_text"], shown["unpublished_changes"]) == (2, second, False)

    back = (await api.post(f"{path}/rollback", json={"version": 1}, headers=tag(5))).json()["policy"]
    assert (back["version"], back["published_text"], back["published_mode"]) == (3, first, "observe")
    assert (back["text"], back["unpublished_changes"]) == (first, False)
    assert await set_version(sessions) == start + 3

    gone = (await api.post(f"{path}/unpublish", headers=tag(6))).json()
    assert (gone["changed"], gone["policy"]["status"], gone["policy"]["published_text"]) == (
        True,
        "draft",
        None,
    )
    assert (await api.post(f"{path}/unpublish", headers=tag(7))).json()["changed"] is False
    assert await set_version(sessions) == start + 4
    await api.post(f"{path}/publish", headers=tag(7))
    ended = await api.delete(path, headers=tag(8))
    assert (ended.status_code, ended.json()["status"], ended.json()["version"]) == (200, "ended", 4)
    assert await set_version(sessions) == start + 6
    for gone_path in (path, f"{path}/versions", f"{path}/versions/1"):
        assert (await api.get(gone_path)).status_code == 404
        assert (await api.get(gone_path, params={"include": "ended"})).status_code == 200

    texts = [
        (content["text"], content["mode"], current) for content, current in await history(sessions, "policy")
    ]
    assert texts == [(first, "observe", False), (second, "enforce", False), (first, "observe", False),
                     (first, "observe", False)]  # fmt: skip
    recorded = await events(sessions, draft)
    assert [action.partition(".")[2] for action, _ in recorded] == [
        "create", "update", "publish", "update", "publish", "rollback", "unpublish", "publish", "end"
    ]  # fmt: skip
    assert recorded[4][1]["text"] == {"from": first, "to": second}
    assert recorded[5][1]["to_version"] == 1


async def test_versions_and_drafts_are_listed_read_and_compared(
    api: httpx2.AsyncClient, api_as: ApiAs
) -> None:
    draft = await policy(api)
    path = f"{PATH}/{draft['id']}"
    for revision, mode in ((1, "observe"), (3, "enforce"), (5, "observe")):
        await api.patch(path, json={"mode": mode}, headers=tag(revision))
        await api.post(f"{path}/publish", headers=tag(revision + 1))
    await api.patch(path, json={"text": f"// All.\n{EVERYTHING}"}, headers=tag(7))
    pages = [(await api.get(f"{path}/versions", params={"limit": 2})).json()]
    pages.append(
        (await api.get(f"{path}/versions", params={"cursor": pages[0]["next_cursor"], "limit": 2})).json()
    )
    listed = [item for page in pages for item in page["items"]]
    assert [(item["version"], item["mode"]) for item in listed] == [
        (3, "observe"),
        (2, "enforce"),
        (1, "observe"),
    ]
    assert pages[1]["next_cursor"] is None
    assert listed[0]["valid_to"] is None
    assert listed[1]["valid_to"] == listed[0]["valid_from"]
    reader = await api_as("auditor")
    assert (await reader.get(f"{path}/versions/2")).json() == listed[1]
    diff = (await reader.get(f"{path}/diff")).json()
    assert diff == {
        "from": "3",
        "to": "draft",
        "changed": ["text"],
        "text": f"--- 3\n+++ draft\n@@ -1 +1,2 @@\n+// All.\n {EVERYTHING}\n",
    }
    assert (await reader.get(f"{path}/diff", params={"from": 1, "to": 2})).json()["changed"] == ["mode"]
    for missing in ("versions/4", "diff?from=4", "diff?to=9"):
        assert (await reader.get(f"{path}/{missing}")).status_code == 404
    assert (await reader.get(f"{path}/diff?from=01")).status_code == 422
    assert (await reader.patch(path, json={}, headers=tag(8))).status_code == 403
    assert (await api.post(f"{path}/rollback", json={"version": 4}, headers=tag(8))).status_code == 404


async def test_a_roll_back_leaves_a_draft_that_has_changes_of_its_own(api: httpx2.AsyncClient) -> None:
    draft = await policy(api)
    path = f"{PATH}/{draft['id']}"
    await api.post(f"{path}/publish", headers=tag(1))
    await api.patch(path, json={"mode": "observe"}, headers=tag(2))
    await api.post(f"{path}/publish", headers=tag(3))
    await api.patch(path, json={"text": f"// Later.\n{EVERYTHING}"}, headers=tag(4))
    back = (await api.post(f"{path}/rollback", json={"version": 1}, headers=tag(5))).json()["policy"]
    assert (back["published_mode"], back["mode"]) == ("enforce", "observe")
    assert back["text"].startswith("// Later.")


async def test_no_change_goes_without_the_tag_of_what_was_seen(api: httpx2.AsyncClient) -> None:
    draft = await policy(api)
    path = f"{PATH}/{draft['id']}"
    for method, where, body in (
        ("PATCH", path, {"mode": "observe"}),
        ("POST", f"{path}/publish", None),
        ("POST", f"{path}/unpublish", None),
        ("POST", f"{path}/rollback", {"version": 1}),
        ("DELETE", path, None),
    ):
        answer = await api.request(method, where, json=body)
        assert (answer.status_code, answer.json()["code"]) == (428, "precondition_required"), where
    assert (await api.get(path)).json() == draft


async def test_a_dry_run_says_what_would_be_and_leaves_nothing(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    dry = {"dry_run": True}
    name = fresh("policy")
    body = {"name": name, "text": EVERYTHING}
    assert (await api.post(PATH, params=dry, json=body)).json()["status"] == "draft"
    draft = await made(api, "policies", body)
    path = f"{PATH}/{draft['id']}"
    assert (await api.post(PATH, params=dry, json=body)).json()["code"] == "name_taken"
    await api.post(f"{path}/publish", headers=tag(1))
    await api.patch(path, json={"mode": "observe"}, headers=tag(2))
    before, version = (await api.get(path)).json(), await set_version(sessions)
    recorded = await events(sessions, draft)
    answers = [
        await api.patch(path, params=dry, json={"name": "x"}, headers=tag(3)),
        await api.post(f"{path}/publish", params=dry, headers=tag(3)),
        await api.post(f"{path}/unpublish", params=dry, headers=tag(3)),
        await api.post(f"{path}/rollback", params=dry, json={"version": 1}, headers=tag(3)),
        await api.delete(path, params=dry, headers=tag(3)),
    ]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert answers[0].json()["name"] == "x"
    assert answers[1].json()["policy"]["version"] == 2
    assert answers[3].json()["changed"] is False
    assert answers[4].json()["status"] == "ended"
    assert ((await api.get(path)).json(), await set_version(sessions)) == (before, version)
    assert await events(sessions, draft) == recorded


async def test_a_text_is_held_to_the_schemas_of_the_tools_that_it_reaches(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    slug = await shop(sessions)
    scope = CALL.replace("{slug}", slug)
    answer = await api.post(
        PATH, json={"name": "x", "text": f'{scope}\nwhen {{ context.arguments.amount > "100" }};'}
    )
    assert pointers(answer) == {("/text", "wrong_type")}
    [error] = answer.json()["errors"]
    assert (error["line"], error["column"]) == (2, 8)
    assert f"{slug}/refund" in error["detail"]
    absent = f'{scope} when {{ context.arguments.account == "x" }};'
    assert pointers(await api.post(PATH, json={"name": "x", "text": absent})) == {
        ("/text", "unguarded_access")
    }
    good = await policy(api, f"{scope}\nwhen {{ context.arguments.amount > 100 }};")
    assert good["warnings"] == []
    path = f"{PATH}/{good['id']}"
    bad = await api.patch(path, json={"text": "permit (principal"}, headers=tag(1))
    assert pointers(bad) == {("/text", "syntax")}

    # The tool changes below the policy: nothing breaks, and the policy shows a warning.
    async with sessions() as session:
        await session.execute(text("UPDATE tools SET input_schema = '{}' WHERE name = 'refund'"))
        await session.commit()
    [warning] = (await api.get(path)).json()["warnings"]
    assert (warning["code"], warning["line"], warning["column"]) == ("unknown_attribute", 2, 8)
    assert pointers(await api.post(f"{path}/publish", headers=tag(1))) == {("/text", "unknown_attribute")}


async def test_names_that_nothing_has_are_warnings_that_come_and_go(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    slug, team, ada = await shop(sessions), await group(api), await person(api)
    unknown = [format_id("idn", new_id()), format_id("grp", new_id())]
    written = await policy(
        api,
        f'@require_approval("{team["name"]}")\nforbid (principal in Group::"{team["id"]}",\n'
        f'action == Action::"call_tool", resource in Server::"{slug}")\n'
        f'unless {{ principal == Identity::"{ada["id"]}" || principal == Identity::"{unknown[0]}" ||\n'
        f'principal in Group::"{unknown[1]}" || principal in Group::"ops" || resource == Tool::"{slug}/lost" ||\n'
        'resource in Server::"nowhere" };',
    )
    codes = [(each["code"], each["line"]) for each in written["warnings"]]
    assert codes == [
        ("empty_group", 1),
        ("unknown_identity", 4),
        ("unknown_group", 5),
        ("unknown_group", 5),
        ("unknown_tool", 5),
        ("unknown_server", 6),
    ]
    await api.put(f"/api/v1/groups/{team['id']}/members/{ada['id']}")
    path = f"{PATH}/{written['id']}"
    assert "empty_group" not in {each["code"] for each in (await api.get(path)).json()["warnings"]}
    await api.delete(f"/api/v1/groups/{team['id']}")
    ended = [(each["code"], each["line"]) for each in (await api.get(path)).json()["warnings"]]
    assert ended[:2] == [("unknown_group", 1), ("unknown_group", 2)]


async def test_the_list_is_filtered_and_shows_what_ended_to_those_who_audit(
    api: httpx2.AsyncClient, api_as: ApiAs
) -> None:
    kept, ended = await policy(api, mode="observe"), await policy(api, description="of old")
    path = f"{PATH}/{ended['id']}"
    await api.delete(path, headers=tag(1))

    async def ids(**params: str) -> list[str]:
        return [item["id"] for item in (await api.get(PATH, params=params)).json()["items"]]

    assert await ids() == [kept["id"]]
    assert await ids(include="ended") == [ended["id"], kept["id"]]
    assert await ids(status="ended", q="OF OLD") == [ended["id"]]
    assert await ids(mode="observe", name=kept["name"].upper()) == [kept["id"]]
    assert await ids(mode="enforce") == []
    assert (await api.get(path, params={"include": "ended"})).json()["status"] == "ended"
    issuer = await api_as("issuer")
    for params in ({"include": "ended"}, {"status": "ended"}):
        assert (await issuer.get(PATH, params=params)).status_code == 403
    assert (await issuer.get(PATH)).json()["items"][0]["warnings"] is None
    body = {"name": kept["name"].upper(), "text": EVERYTHING}
    assert (await api.post(PATH, json=body)).json()["code"] == "name_taken"
    for bad in ({}, {"name": "x", "text": EVERYTHING, "tests": [{}]}):
        assert (await api.post(PATH, json=bad)).status_code == 422


async def test_a_permit_is_told_that_it_changes_nothing(api: httpx2.AsyncClient) -> None:
    written = await policy(api, "permit (principal, action, resource);")
    assert [warning["code"] for warning in written["warnings"]] == ["permit_without_effect"]


async def test_the_vocabulary_is_shown_with_the_arguments_of_a_tool(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    slug = await shop(sessions)
    plain = (await api.get(f"{PATH}/schema")).json()
    assert (plain["version"], plain["tool"]) == (1, None)
    [tool] = (await api.get("/api/v1/tools")).json()["items"]
    shown = (await api.get(f"{PATH}/schema", params={"tool_id": tool["id"]})).json()
    assert shown["tool"] == f"{slug}/refund"
    assert '"amount": Long' in shown["cedar"]
    missing = {"tool_id": format_id("tool", new_id())}
    assert (await api.get(f"{PATH}/schema", params=missing)).status_code == 404


async def test_a_policy_that_asks_warns_where_approvers_would_not_see_the_arguments(
    api: httpx2.AsyncClient,
) -> None:
    await group(api, await person(api), name="Finance leads")
    servers = [
        (
            await api.post("/api/v1/servers", json={"slug": slug, "url": "https://mcp.example.com/", **more})
        ).json()
        for slug, more in (("billing", {"keep_arguments": "off"}), ("notes", {}))
    ]
    text = (
        '@require_approval("Finance leads")\nforbid (principal, action == Action::"call_tool", resource{});'
    )
    for reach, warned in (("", True), (' in Server::"billing"', True), (' in Server::"notes"', False)):
        body = {"name": f"Ask {reach}", "text": text.format(reach)}
        answer = await api.post("/api/v1/policies", json=body)
        assert answer.status_code == 201, answer.text
        codes = [one["code"] for one in answer.json()["warnings"]]
        assert ("arguments_not_kept" in codes) is warned, (reach, answer.json()["warnings"])
    policy = answer.json()
    await api.patch(f"/api/v1/servers/{servers[1]['id']}", json={"keep_arguments": "off"})
    path = f"/api/v1/policies/{policy['id']}/publish"
    published = await api.post(path, headers={"If-Match": "*"})
    assert published.status_code == 200, published.text
    assert "arguments_not_kept" in [one["code"] for one in published.json()["policy"]["warnings"]]

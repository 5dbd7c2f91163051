"""Pages about policies: what is typed is looked at before it is kept, kept on error, and published as it was shown."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from app.features.policies import simulate
from tests.adapters.console.conftest import NewBrowser
from tests.adapters.console.provider import SigningProvider, sign_in
from tests.adapters.console.test_grant_pages import EVIL, filled, put, said
from tests.features.access.recorded import record_call
from tests.features.access.test_explaining import REFUNDS, billing, published, token_of
from tests.features.principals import Json, Sessions, grant, group, made, person

ROOT = "/console/policies"
NO_REFUNDS = """@reason("No refunds.")
forbid (principal, action == Action::"call_tool", resource == Tool::"billing/refund");
"""
BROKEN = 'forbid (\n  principal,\n  action == Action::"call_tool"\n  resource\n);'
TEST = {
    "name": "None",
    "request": {"server": "billing", "tool": "refund", "arguments": {"amount": 5}},
    "expect": "deny",
}


@pytest.fixture
async def admin(new_browser: NewBrowser, provider: SigningProvider) -> httpx2.AsyncClient:
    """The browser of an administrator."""
    browser = new_browser()
    assert (await sign_in(browser, provider, sub="root", groups=["admins"])).status_code == 303
    return browser


async def drafted(
    api: httpx2.AsyncClient, name: str = "No refunds", text: str = NO_REFUNDS, **more: Any
) -> Json:
    return await made(api, "policies", {"name": name, "text": text, **more})


async def read(api: httpx2.AsyncClient, policy: Json) -> Json:
    found: Json = (await api.get(f"/api/v1/policies/{policy['id']}")).json()
    return found


async def test_the_list_tells_what_decides_what_observes_and_what_is_a_draft(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    assert "No policies yet" in said(await admin.get(ROOT))
    trial = await published(api, f"On trial {EVIL}", NO_REFUNDS, mode="observe")
    decides = await published(api, "Ask first", REFUNDS)
    draft = await drafted(api, "Not yet")
    page = await admin.get(ROOT)
    assert "<script>alert" not in page.text
    text = said(page)
    for shown in (
        f"On trial {EVIL}",
        "published, version 1",
        "observed",
        "enforced",
        "draft, not published",
    ):
        assert shown in text, shown
    assert f"observed_policy_id={trial['id']}" in page.text
    assert f"?policy_id={decides['id']}" in page.text

    async def found(**query: str) -> set[str]:
        return set(
            re.findall(r'href="/console/policies/(pol_\w+)"', (await admin.get(ROOT, params=query)).text)
        )

    assert await found(status="draft") == {draft["id"]}
    assert await found(mode="observe") == {trial["id"]}
    assert await found(q="first") == {decides["id"]}
    assert await found(q="nothing like it") == set()
    assert (await admin.get(ROOT, params={"mode": "odd"})).status_code == 400


async def test_a_template_is_filled_in_with_names_and_becomes_a_draft_that_decides_nothing(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    await billing(api)
    team = await group(api, name="Finance leads")
    new = f"{ROOT}/new"
    chooser = await admin.get(new)
    names = re.findall(r"\?template=([\w-]+)", chooser.text)
    assert len(names) == 7
    for name in names:
        assert (await admin.get(new, params={"template": name})).status_code == 200
    assert (await admin.get(new, params={"template": "odd"})).status_code == 404
    form = filled(await admin.get(new, params={"template": "argument-limit"}), new)
    good = {
        "p_server": "billing", "p_tool": "refund", "p_argument": "amount", "p_limit": "100",
        "p_approvers": "Finance leads", "p_group_id": "finance leads",
    }  # fmt: skip
    for changed, words in (
        ({"p_limit": "much"}, "Limit: "),
        ({"p_limit": ""}, "Limit: "),
        ({"p_group_id": "Nobody"}, "There is no group of this name"),
    ):
        refused = await admin.post(new, data=put(form, **(good | changed)))
        assert refused.status_code == 422
        assert words in said(refused)
        assert ("p_tool", "refund") in filled(refused, new)
    editor = await admin.post(new, data=put(form, **good))
    draft = filled(editor, new)
    text = dict(draft)["text"]
    assert "context.arguments.amount <= 100" in text
    assert team["id"] in text
    kept = await admin.post(new, data=put(draft, do="save", mode="enforce"))
    assert kept.status_code == 303, said(kept)
    [policy] = (await api.get("/api/v1/policies")).json()["items"]
    assert kept.headers["location"] == f"{ROOT}/{policy['id']}?done=created"
    assert (policy["text"], policy["status"]) == (text, "draft")
    taken = await admin.post(new, data=put(draft, do="save", mode="enforce"))
    assert taken.status_code == 409
    assert dict(filled(taken, new))["text"] == text


async def test_enter_in_a_field_of_the_editor_looks_at_the_draft_and_does_nothing_else(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    policy = await drafted(api)
    for path in (f"{ROOT}/{policy['id']}", f"{ROOT}/new?template=blank"):
        pressed = re.findall(r'<button [^>]*name="do" value="(\w+)"', (await admin.get(path)).text)
        assert pressed[0] == "check", path


async def test_what_is_wrong_with_a_text_is_told_by_line_and_column_and_the_text_is_kept(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    policy = await drafted(api)
    path = f"{ROOT}/{policy['id']}"
    form = filled(await admin.get(path), path)
    for step in ("check", "replay", "save", "add_test"):
        typed = {"text": BROKEN, "test_name": "x", "test_server": "billing", "test_tool": "refund"}
        page = await admin.post(path, data=put(form, do=step, test_expect="deny", **typed))
        assert page.status_code == 422
        assert "line 4, column 3" in said(page), said(page)
        assert said(page).count("Unexpected token `resource`") == 1
        assert dict(filled(page, path))["text"] == BROKEN
    for changed, words in (
        ({"text": "x" * 20_001}, "20000 characters"),
        ({"tests": '[{"name": 1,]'}, "line 1, column 13"),
        ({"tests": "{}"}, "Enter a list of tests"),
        ({"tests": json.dumps([TEST | {"expect": "odd"}])}, "Tests, no. 1, expected: "),
        ({"mode": "odd"}, "Mode: "),
        ({"name": ""}, "Name: "),
        ({"test_arguments": "[1]", "do": "add_test"}, "Enter an object"),
        ({"tests": "[" * 5_000}, "nested too deeply"),
        ({"tests": "[" * 65 + "]" * 65}, "nested too deeply"),
        ({"tests": "[" * 64}, "line 1, column 65"),
    ):
        page = await admin.post(path, data=put(form, **({"do": "save"} | changed)))
        assert page.status_code == 422, changed
        assert words in said(page), (words, said(page)[:2000])
        name, value = next(iter(changed.items()))
        if name != "mode":
            assert (name, value) in filled(page, path)
    part = await admin.post(
        path,
        data=put(form, do="check", text=BROKEN),
        headers={"HX-Request": "true", "HX-Target": "div#report"},
    )
    assert part.status_code == 422
    assert "<!doctype" not in part.text
    assert "line 4, column 3" in part.text
    assert (await read(api, policy))["revision"] == 1


async def test_a_draft_is_checked_and_tested_as_it_is_typed_and_nothing_is_kept(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    await billing(api)
    policy = await drafted(api)
    path = f"{ROOT}/{policy['id']}"
    form = filled(await admin.get(path), path)
    assert "The text is valid" in said(await admin.post(path, data=put(form, do="check")))
    odd = NO_REFUNDS.replace("billing/refund", "billing/refnd")
    warned = said(await admin.post(path, data=put(form, do="check", text=odd)))
    assert "Warnings" in warned
    assert "line 2, column" in warned
    small = {"test_name": "None", "test_server": "billing", "test_tool": "refund", "test_expect": "allow"}
    failing = await admin.post(path, data=put(form, do="add_test", test_arguments='{"amount": 5}', **small))
    assert "Tests: 0 of 1 pass" in said(failing)
    fields = filled(failing, path)
    [test] = json.loads(dict(fields)["tests"])
    assert test["request"] == {"server": "billing", "tool": "refund", "arguments": {"amount": 5}}
    assert dict(fields)["test_name"] == ""
    right = put(fields, do="check", tests=json.dumps([test | {"expect": "deny"}]))
    assert "Tests: 1 of 1 pass" in said(await admin.post(path, data=right))
    assert (await read(api, policy)) == policy
    kept = await admin.post(path, data=right | {"do": ["save"], "text": [odd]})
    assert kept.headers["location"] == f"{path}?done=saved"
    now = await read(api, policy)
    assert (now["text"], now["tests"][0]["expect"]) == (odd, "deny")
    over = await admin.post(path, data=right | {"do": ["save"]})
    assert over.status_code == 412
    assert "It was changed since this page was shown" in said(over)
    assert (await read(api, policy))["revision"] == now["revision"]


async def test_recorded_calls_are_replayed_before_anything_is_kept_and_lead_to_their_events(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    server, _ = await billing(api)
    ada = await person(api, display_name=f"Ada {EVIL}")
    await grant(api, ada)
    token = await token_of(api, ada)
    hour = datetime.now(UTC) - timedelta(hours=1)
    event = await record_call(sessions, token, server, "refund", {"amount": 5}, time=hour)
    new = f"{ROOT}/new"
    form = filled(await admin.get(new, params={"template": "blank"}), new)
    # What has no name yet can be looked at, and not kept.
    assert "There is no tool server/tool" in said(await admin.post(new, data=put(form, do="check")))
    assert (await admin.post(new, data=put(form, do="save"))).status_code == 422
    typed = put(form, do="replay", name="Draft", text=NO_REFUNDS, mode="observe", days="7")
    page = await admin.post(new, data=typed)
    text = said(page)
    assert "Of 1 call since" in text, text
    assert "1 newly denied, of 1 person or agent" in text
    assert "The replay enforces the policy" in text
    assert f'href="/console/audit/{event}"' in page.text
    assert f"Ada {EVIL}" in text
    assert "<script>alert" not in page.text
    assert dict(filled(page, new))["text"] == NO_REFUNDS
    assert (await api.get("/api/v1/policies")).json()["items"] == []
    # A busy worker is no reason to lose what was typed.
    async with simulate._ONE_AT_A_TIME:
        busy = await admin.post(new, data=typed)
    assert busy.status_code == 429
    assert dict(filled(busy, new))["text"] == NO_REFUNDS
    # The draft of a policy is replayed in the place of what is published of it.
    policy = await published(api, "None", NO_REFUNDS)
    path = f"{ROOT}/{policy['id']}"
    sent = put(filled(await admin.get(path), path), do="replay", text=NO_REFUNDS.replace("refund", "other"))
    assert "1 newly allowed" in said(await admin.post(path, data=sent))
    same = put(filled(await admin.get(path), path), do="replay", days="1")
    assert "0 newly allowed" in said(await admin.post(path, data=same))
    assert (await admin.post(path, data=same | {"days": ["999"]})).status_code == 422
    # What the numbers say nothing of comes before them.
    await record_call(sessions, token, server, "refund", {"amount": 9}, kept=False, time=hour)
    reading = NO_REFUNDS.replace(";", " when { context.arguments has amount };")
    text = said(await admin.post(path, data=same | {"text": [reading]}))
    assert text.index("1 of 2 calls could not be replayed") < text.index("newly denied")


async def test_a_draft_is_published_as_it_was_shown_and_an_earlier_version_decides_again(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    await billing(api)
    policy = await published(api, "Refunds", NO_REFUNDS)
    path = f"{ROOT}/{policy['id']}"
    form = filled(await admin.get(path), path)
    await admin.post(path, data=put(form, do="save", text=REFUNDS, tests=json.dumps([TEST])))
    difference = said(await admin.get(f"{path}/published"))
    assert '-@reason("No refunds.")' in difference
    page = await admin.get(f"{path}/publish")
    assert "Tests: 0 of 1 pass" in said(page)
    sent = put(filled(page, f"{path}/publish"))
    failed = await admin.post(f"{path}/publish", data=sent)
    assert failed.status_code == 422
    assert "The test 'None' expects deny" in said(failed)
    assert (await read(api, policy))["version"] == 1
    old = sent | {"revision": ["1"], "ignore_failed_tests": ["on"]}
    assert (await admin.post(f"{path}/publish", data=old)).status_code == 412
    done = await admin.post(f"{path}/publish", data=sent | {"ignore_failed_tests": ["on"]})
    assert done.headers["location"] == f"{path}?done=published"
    assert (await read(api, policy))["published_text"] == REFUNDS
    listed = said(await admin.get(f"{path}/versions"))
    assert "Version 2" in listed
    assert "Version 1" in listed
    back = f"{path}/versions/1"
    page = await admin.get(back)
    assert '+@reason("No refunds.")' in said(page)
    rolled = await admin.post(back, data=put(filled(page, back)))
    assert rolled.headers["location"] == f"{path}?done=rolled-back"
    now = await read(api, policy)
    assert (now["published_text"], now["version"]) == (NO_REFUNDS, 3)
    assert (await admin.get(f"{path}/versions/9")).status_code == 404
    assert (await admin.get(f"{path}/versions/0")).status_code == 404


async def test_a_policy_is_taken_back_and_ended_on_pages_of_their_own(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    policy = await published(api, "Refunds", NO_REFUNDS)
    path = f"{ROOT}/{policy['id']}"
    page = await admin.get(f"{path}/unpublish")
    assert "No refunds." in said(page)
    sent = put(filled(page, f"{path}/unpublish"))
    assert (await admin.post(f"{path}/unpublish", data=sent | {"revision": ["7"]})).status_code == 412
    assert (await read(api, policy))["status"] == "published"
    assert (await admin.post(f"{path}/unpublish", data=sent)).headers[
        "location"
    ] == f"{path}?done=unpublished"
    assert (await read(api, policy))["status"] == "draft"
    sent = put(filled(await admin.get(f"{path}/end"), f"{path}/end"))
    assert (await admin.post(f"{path}/end", data=sent)).headers["location"] == f"{ROOT}?done=ended"
    assert (await api.get(f"/api/v1/policies/{policy['id']}")).status_code == 404
    # Its past is there for those who audit, and nothing to change it by.
    ended = await admin.get(path)
    assert "ended" in said(ended)
    assert "Save draft" not in said(ended)
    assert "Version 1" in said(await admin.get(f"{path}/versions"))
    assert (await admin.get(f"{path}/versions/1")).status_code == 200
    assert (await admin.get(f"{path}/published")).status_code == 200
    assert (await admin.post(path, data=sent)).status_code == 404


async def test_who_may_not_write_policies_reads_them_and_is_offered_nothing_more(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient, new_browser: NewBrowser, provider: SigningProvider
) -> None:
    policy = await published(api, "Refunds", NO_REFUNDS)
    path = f"{ROOT}/{policy['id']}"
    auditor = new_browser()
    await sign_in(auditor, provider, sub="reader", groups=["auditors"])
    page = await auditor.get(path)
    assert "No refunds." in said(page)
    for offered in ("Save draft", "End policy", "Unpublish", "New policy"):
        assert offered not in said(page) + said(await auditor.get(ROOT))
    token = dict(filled(await admin.get(f"{path}/end"), f"{path}/end"))
    for action in (
        path,
        f"{ROOT}/new",
        f"{path}/publish",
        f"{path}/unpublish",
        f"{path}/end",
        f"{path}/versions/1",
    ):
        assert (await auditor.post(action, data=token)).status_code == 403
        assert (await admin.post(action, data=token, headers={"Origin": "null"})).status_code == 403
        assert (await admin.post(action, data=token | {"form_token": "0" * 64})).status_code == 403
    for refused in (f"{ROOT}/new", f"{path}/publish", f"{path}/unpublish", f"{path}/end"):
        assert (await auditor.get(refused)).status_code == 403
    nobody = new_browser()
    await sign_in(nobody, provider, sub="reader")
    for refused in (ROOT, path, f"{path}/published", f"{path}/versions", f"{path}/versions/1"):
        assert (await nobody.get(refused)).status_code == 403
    assert (await read(api, policy))["revision"] == 2


async def test_a_text_that_comes_after_the_session_ended_is_shown_and_not_kept(
    admin: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    policy = await drafted(api)
    path = f"{ROOT}/{policy['id']}"
    typed = put(filled(await admin.get(path), path), do="save", text=f"{NO_REFUNDS}// {EVIL}")
    admin.cookies.clear()
    page = await admin.post(path, data=typed)
    assert page.status_code == 401
    assert "Your input was not saved" in said(page)
    assert " ".join(NO_REFUNDS.split()) in said(page)
    assert "<script>alert" not in page.text
    assert "form_token" not in page.text
    assert (await read(api, policy))["revision"] == 1

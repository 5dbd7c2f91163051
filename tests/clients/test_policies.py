"""The client and the real service: policies."""

import pytest
from scopegate_client import Client
from scopegate_client.errors import PreconditionRequired, ValidationFailed

from tests.clients.drives import drives
from tests.clients.names import name

TEXT = 'forbid (principal, action == Action::"call_tool", resource == Tool::"shop/refund");'


@drives(
    *("create_policy", "get_policy", "list_policies", "update_policy", "delete_policy", "publish_policy"),
    *("roll_back_policy", "unpublish_policy", "list_policy_versions", "get_policy_version", "diff_policy"),
    "get_policy_schema",
)
def test_a_policy_is_drafted_published_and_taken_back(client: Client) -> None:
    assert "call_tool" in client.policies.get_schema().cedar
    draft = client.policies.create(name=name("refunds"), text=TEXT, mode="observe")
    assert [warning.code for warning in draft.warnings or []] == ["unknown_tool"]
    assert [found.id for found in client.policies.list(name=draft.name)] == [draft.id]
    with pytest.raises(PreconditionRequired):
        client.policies.publish(draft.id)
    first = client.policies.publish(draft.id, if_match=draft.revision).policy
    changed = client.policies.update(draft.id, text=f"// All.\n{TEXT}", if_match=first.revision)
    assert "+// All." in client.policies.diff(draft.id).text
    second = client.policies.publish(draft.id, if_match=changed.revision).policy
    assert client.policies.get(draft.id).version == 2
    back = client.policies.roll_back(draft.id, version=1, if_match=second.revision).policy
    assert [each.version for each in client.policies.list_versions(draft.id)] == [3, 2, 1]
    assert client.policies.get_version(draft.id, "3").text == TEXT
    taken = client.policies.unpublish(draft.id, if_match=back.revision).policy
    assert client.policies.delete(draft.id, if_match=taken.revision).status == "ended"


@drives("test_policy", "list_policy_templates", "render_policy_template")
def test_a_template_is_filled_in_and_what_it_decides_is_tested(client: Client) -> None:
    assert "daily-quota" in [template.name for template in client.policies.list_templates().items]
    parameters = {"server": "files", "tool": "read", "argument": "path", "directories": ["/srv"]}
    rendered = client.policies.render_template("allowed-paths", parameters=parameters)
    request = {"server": "files", "tool": "read", "arguments": {"path": "/etc/passwd"}}
    test = {"name": "no passwords", "request": request, "expect": "deny"}
    draft = client.policies.create(name=name("paths"), text=rendered.text, tests=[test])
    [result] = client.policies.test(draft.id).results
    assert (result.passed, result.decision) == (True, "deny")


def test_what_is_wrong_with_a_policy_is_said_with_its_place(client: Client) -> None:
    with pytest.raises(ValidationFailed) as refused:
        client.policies.create(name=name("refunds"), text=f"{TEXT}\npermit")
    assert "at line 2, column 6" in refused.value.detail

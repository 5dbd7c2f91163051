"""Bodies as directories send them become those of the standard; what is dropped is gone before anything reads it."""

import json
from typing import Any

import pytest
from scim2_models import (
    InvalidPathException,
    InvalidSyntaxException,
    InvalidValueException,
    PayloadTooLargeException,
)

from app.adapters.scim.leniency import tolerate
from tests.adapters.scim.conftest import ENTERPRISE, PATCH, USER, patch


def tolerated(method: str, path: str, body: Any) -> Any:
    return json.loads(tolerate(method, path, json.dumps(body).encode()))


def operation(method_path: str = "/Users/x", **operation: Any) -> Any:
    """The one operation that a PATCH has afterwards."""
    (found,) = tolerated("PATCH", method_path, patch(operation))["Operations"]
    return found


def test_a_whole_user_loses_its_password_and_has_truths_for_texts() -> None:
    sent = {
        "userName": "ada",
        "Password": "hunter2",
        f"{USER}:password": "hunter2",
        "Active": " FALSE",
        "emails": [{"value": "a@example.com", "primary": "true"}],
        "title": "False",
        ENTERPRISE: {"manager": "boss", "password": "hunter2"},
    }
    wanted = {
        "userName": "ada",
        "Active": False,
        "emails": [{"value": "a@example.com", "primary": True}],
        "title": "False",
        ENTERPRISE: {"manager": {"value": "boss"}},
        "schemas": [USER],
    }
    assert tolerated("POST", "Users", sent) == wanted
    assert tolerated("PUT", "/Users/x/", sent) == wanted
    bulk = {
        "Operations": [
            {"method": "post", "path": "/Users", "bulkId": "1", "data": sent},
            7,
            {"method": "PUT"},
        ]
    }
    assert tolerated("POST", "Bulk", bulk)["Operations"][0]["data"] == wanted
    # What says a schema keeps it; what is no truth stays what it is, to be refused.
    assert tolerated("POST", "Users", {"schemas": ["x"], "active": "maybe"}) == {
        "schemas": ["x"],
        "active": "maybe",
    }


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        ({"op": "Replace", "path": "active", "value": "False"}, False),
        ({"op": "replace", "path": f"{USER}:active", "value": "true"}, True),
        ({"op": "Replace", "path": "active", "value": [{"$ref": None, "value": "False"}]}, False),
        ({"op": "replace", "path": 'emails[type eq "work"].primary', "value": "True"}, True),
        ({"op": "replace", "path": "title", "value": "False"}, "False"),
        ({"op": "add", "path": f"{ENTERPRISE}:manager", "value": "boss"}, {"value": "boss"}),
        ({"op": "replace", "path": f"{ENTERPRISE}:manager", "value": ""}, None),
        ({"op": "replace", "path": "password", "value": "hunter2"}, ""),
        ({"op": "add", "path": f"{USER}:Password", "value": "hunter2"}, ""),
        ({"op": "replace", "value": {"active": "False", "id": "x", "groups": [], "password": "hunter2"}},
         {"active": False}),
        ({"op": "replace", "value": {"name.givenName": "A", f"{ENTERPRISE}:manager": "b"}},
         {"name.givenName": "A", f"{ENTERPRISE}:manager": {"value": "b"}}),
        ({"op": "add", "path": "emails", "value": [{"value": "a", "primary": "true", "password": "hunter2"}]},
         [{"value": "a", "primary": True}]),
    ],
)  # fmt: skip
def test_the_value_of_an_operation(sent: dict[str, Any], wanted: Any) -> None:
    found = operation(**sent)
    assert found["value"] == wanted
    assert {name: found[name] for name in found if name != "value"} == {
        name: sent[name] for name in sent if name != "value"
    }
    assert "hunter2" not in json.dumps(found)


def test_values_that_are_selected_without_a_path_are_operations_of_their_own() -> None:
    work, home = 'emails[type eq "work"].value', 'emails[type eq "home"].primary'
    sent = {"op": "Replace", "value": {work: "w@example.com", "displayName": "Ada", home: "True"}}
    assert tolerated("PATCH", "Users/x", patch(sent, {"op": "add", "value": {work: "x"}}, 7))[
        "Operations"
    ] == [
        {"op": "Replace", "value": {"displayName": "Ada"}},
        {"op": "Replace", "path": work, "value": "w@example.com"},
        {"op": "Replace", "path": home, "value": True},
        {"op": "add", "path": work, "value": "x"},
        7,
    ]


def test_members_are_removed_by_their_ids_alone() -> None:
    member = {"value": "idn_1", "display": "as it was once", "$ref": "x"}
    assert operation("Groups/x", op="Remove", path="members", value=[member])["value"] == [{"value": "idn_1"}]
    assert operation("Groups/x", op="add", path="members", value=[member])["value"] == [member]
    assert "value" not in operation("Groups/x", op="remove", path='members[value eq "idn_1"]')
    assert tolerated("PATCH", "Groups/x", {"Operations": []})["schemas"] == [PATCH]


def test_what_has_no_one_meaning_is_refused_and_the_rest_let_be() -> None:
    for body in (
        b"{",
        b'{"active": true, "active": false}',
        b'{"active": true, "Active": "False"}',
        b'{"emails": [{"value": "a", "VALUE": "b"}]}',
        b'{"userName": "\\u0000"}',
        b'{"userName": "\\ud800"}',
        b'{"userName": "\xff"}',
        b'{"x": NaN}',
        b"[" * 100,
    ):
        with pytest.raises(InvalidSyntaxException):
            tolerate("PATCH", "/Users/x", body)
    assert tolerate("GET", "/Users", b"{") == b"{"
    assert tolerate("POST", "/Users", b"") == b""
    for value in (None, 1, "x", [], [1], {"Operations": 1}, {"Operations": [1, None]}):
        for path in ("Users", "Bulk", "Users/.search", "Nothing"):
            tolerated("POST", path, value)
            tolerated("PATCH", path, value)


def test_what_would_keep_others_waiting_is_refused() -> None:
    title = {"op": "replace", "path": "title", "value": "x"}
    emails = [{"value": f"{n}@example.com"} for n in range(20)]
    whole = {"op": "replace", "path": "emails", "value": emails}
    member = {"op": "add", "path": "members", "value": [{"value": str(n)} for n in range(5_000)]}
    for path, body, error in (
        ("Users/x", patch(*[title] * 201), PayloadTooLargeException),
        (
            "Users/x",
            patch({"op": "replace", "value": {f"x{n}": n for n in range(201)}}),
            PayloadTooLargeException,
        ),
        ("Users/x", patch(*[whole] * 3), PayloadTooLargeException),
        ("Users/x", patch(title | {"path": "x" * 501}), InvalidPathException),
        (
            "Users/x",
            patch({"op": "add", "value": {"emails": [*emails, {"value": "x"}]}}),
            InvalidValueException,
        ),
        ("Users", {"emails": [*emails, {"value": "x"}]}, InvalidValueException),
        ("Groups/x", patch(*[title] * 1_001), PayloadTooLargeException),
        ("Groups/x", patch(*[title | {"path": "x" * 500}] * 201), PayloadTooLargeException),
        (
            "Groups/x",
            patch({"op": "replace", "value": {str(n): n for n in range(2_001)}}),
            PayloadTooLargeException,
        ),
        (
            "Groups/x",
            patch(*[{"op": "add", "value": {"urn:x": {str(n): n for n in range(1_001)}}}] * 2),
            PayloadTooLargeException,
        ),
        ("Bulk", {"Operations": [{"method": "DELETE", "path": "/Users/x"}] * 101}, PayloadTooLargeException),
        (
            "Bulk",
            {"Operations": [{"method": "PATCH", "path": "/Users/x", "data": patch(*[title] * 101)}] * 2},
            PayloadTooLargeException,
        ),
    ):
        method = "POST" if path in {"Users", "Bulk"} else "PATCH"
        with pytest.raises(error):
            tolerated(method, path, body)
    tolerated("PATCH", "Users/x", patch(*[title] * 198, *[whole] * 2))
    tolerated("PATCH", "Groups/x", patch(member, member))
    tolerated("POST", "Users", {"emails": emails})

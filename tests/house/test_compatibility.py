"""The contract stays compatible with clients of the last release, and every kind of break is detected."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.compatibility import breaks

OPENAPI = Path(__file__).parents[2] / "openapi"
Json = dict[str, Any]


def contract() -> Json:
    found: Json = json.loads((OPENAPI / "openapi.json").read_text())
    return found


def version_of(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", path.stem))


def test_the_clients_of_the_last_release_can_go_on() -> None:
    released = sorted((OPENAPI / "released").glob("*.json"), key=version_of)
    if not released:
        pytest.skip("nothing has been released yet")
    assert breaks(json.loads(released[-1].read_text()), contract()) == []


def schema(document: Json, name: str) -> Json:
    found: Json = document["components"]["schemas"][name]
    return found


def operation(document: Json, method: str, path: str) -> Json:
    found: Json = document["paths"]["/api/v1" + path][method]
    return found


def drop_parameter(document: Json) -> None:
    found = operation(document, "get", "/tokens")
    found["parameters"] = [one for one in found["parameters"] if one["name"] != "status"]


def require_parameter(document: Json) -> None:
    for one in operation(document, "get", "/tokens")["parameters"]:
        one["required"] = one["name"] == "identity_id"


def shorten_name(document: Json) -> None:
    schema(document, "GroupCreate")["properties"]["name"]["maxLength"] = 20


def answer_null(document: Json) -> None:
    schema(document, "Group")["properties"]["name"] = {"anyOf": [{"type": "string"}, {"type": "null"}]}


def change_type(document: Json) -> None:
    schema(document, "Token")["properties"]["depth"]["type"] = "string"


def rename_schema(document: Json) -> None:
    text = json.dumps(document).replace('"#/components/schemas/Group"', '"#/components/schemas/Team"')
    document.clear()
    document.update(json.loads(text))
    schemas = document["components"]["schemas"]
    schemas["Team"] = schemas.pop("Group")


BREAKS: list[tuple[str, Callable[[Json], Any]]] = [
    ("GET /api/v1/tools: is gone", lambda d: d["paths"]["/api/v1/tools"].pop("get")),
    ("DELETE /api/v1/groups/{group_id}: is gone", lambda d: d["paths"].pop("/api/v1/groups/{group_id}")),
    ("is called list_all", lambda d: operation(d, "get", "/tokens").update(operationId="list_all")),
    ("does not take status any more", drop_parameter),
    ("identity_id is required now", require_parameter),
    ("does not answer 201 any more", lambda d: operation(d, "post", "/groups")["responses"].pop("201")),
    ("lost the header ETag", lambda d: operation(d, "post", "/groups")["responses"]["201"]["headers"].pop("ETag")),
    ("answered Group: the field description is gone", lambda d: schema(d, "Group")["properties"].pop("description")),
    ("sent GroupCreate: the field name is gone", lambda d: schema(d, "GroupCreate")["properties"].pop("name")),
    ("the field description is required now", lambda d: schema(d, "GroupCreate")["required"].append("description")),
    ("the field name is not always there any more", lambda d: schema(d, "Group")["required"].remove("name")),
    ("maxLength is 20 now", shorten_name),
    ("answered Group.name: null is new", answer_null),
    ("answered Token.depth: string is new", change_type),
    ("the value approver is refused", lambda d: schema(d, "Role")["enum"].remove("approver")),
    ("sent ToolSelector: ToolsByRisk is refused", lambda d: schema(d, "ToolSelector")["oneOf"].pop()),
    ("schema Group: is gone", rename_schema),
]  # fmt: skip


@pytest.mark.parametrize(("said", "change"), BREAKS, ids=[said for said, _ in BREAKS])
def test_an_incompatible_change_is_detected(said: str, change: Callable[[Json], Any]) -> None:
    doctored = copy.deepcopy(contract())
    change(doctored)
    assert any(said in line for line in breaks(contract(), doctored)), breaks(contract(), doctored)


def test_additions_are_compatible() -> None:
    doctored = contract()
    schema(doctored, "Group")["properties"]["colour"] = {"type": "string"}
    schema(doctored, "Group")["required"].append("colour")
    schema(doctored, "GroupCreate")["properties"]["colour"] = {"type": "string"}
    schema(doctored, "TokenStatus")["enum"].append("paused")
    operation(doctored, "get", "/groups")["parameters"].append(
        {"in": "query", "name": "colour", "required": False, "schema": {"type": "string"}}
    )
    doctored["paths"]["/api/v1/colours"] = {"get": {"operationId": "list_colours", "responses": {}}}
    assert breaks(contract(), doctored) == []


def test_a_contract_is_compatible_with_itself() -> None:
    assert breaks(contract(), contract()) == []

"""The contract is complete: everything has a name, a description and an example."""

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.http.problems import MEDIA_TYPE
from app.main import create_api
from app.settings import Settings

SCHEMAS = "#/components/schemas/"
Json = dict[str, Any]


@pytest.fixture(scope="module")
def contract() -> Json:
    """The OpenAPI document of the real application, not started."""
    key = SecretStr("k" * 40)
    api: FastAPI = create_api(
        Settings(
            database_url=SecretStr("postgresql://nowhere/x"),
            token_pepper=key,
            encryption_key=key,
            signing_key=key,
        )
    )
    return api.openapi()


def operations(contract: Json) -> Iterator[tuple[str, Json]]:
    """Every operation with its method and path."""
    for path, item in contract["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def schemas_inside(value: Any, where: str) -> Iterator[tuple[str, Json]]:
    """Every schema inside another, at any depth, but not itself."""
    for key in ("properties", "patternProperties"):
        for name, inner in value.get(key, {}).items():
            yield f"{where}.{name}", inner
            yield from schemas_inside(inner, f"{where}.{name}")
    inner_schemas = [value.get("items"), value.get("additionalProperties")]
    for inner in (*inner_schemas, *value.get("anyOf", ()), *value.get("oneOf", ())):
        if isinstance(inner, dict):
            yield where, inner
            yield from schemas_inside(inner, where)


def without_null(choices: list[Json]) -> list[Json]:
    return [choice for choice in choices if choice.get("type") != "null"]


def needs_a_name(schema: Json) -> bool:
    """Whether a schema is an enumeration, a choice or a map: a client has a type for it, so it wants a name."""
    choices = without_null(schema.get("anyOf", [])) + without_null(schema.get("oneOf", []))
    is_map = schema.get("type") == "object" and schema.get("additionalProperties", True) is not False
    return len(schema.get("enum", [])) > 1 or len(choices) > 1 or is_map


def test_every_schema_is_described_and_shown_by_an_example_that_fits(contract: Json) -> None:
    schemas = contract["components"]["schemas"]
    lacking = [name for name, schema in schemas.items() if not schema.get("description")]
    assert lacking == [], "without a description"
    lacking = [name for name, schema in schemas.items() if not schema.get("examples")]
    assert lacking == [], "without an example: Field(examples=[...]) on the field whose type does not tell"
    registry = jsonschema_rs.Registry([("urn:contract", {"components": contract["components"]})])
    for name, schema in schemas.items():
        validator = jsonschema_rs.Draft202012Validator(
            {"$ref": f"urn:contract{SCHEMAS}{name}"}, validate_formats=True, registry=registry
        )
        for example in schema["examples"]:
            errors = [error.message for error in validator.iter_errors(example)]
            assert errors == [], f"an example of {name} does not fit it"


def test_no_example_rots(contract: Json) -> None:
    """A time in an example has passed, or is so far ahead that nobody sees it pass; an end that is asked for is
    ahead."""

    def times(value: Any, key: str) -> Iterator[tuple[str, str]]:
        inner = value.items() if isinstance(value, dict) else [(key, one) for one in value]
        for name, one in inner:
            if isinstance(one, dict | list):
                yield from times(one, name)
            elif isinstance(one, str) and re.match(r"\d{4}-\d\d-\d\d", one):
                yield name, one

    bodies = {
        schema["$ref"].removeprefix(SCHEMAS)
        for _, operation in operations(contract)
        for kind in operation.get("requestBody", {}).get("content", {}).values()
        for schema in (kind["schema"], *kind["schema"].get("oneOf", ()), *kind["schema"].get("anyOf", ()))
        if "$ref" in schema
    }
    assert bodies
    rotting = [
        f"{name}.{key}: {time}"
        for name, schema in contract["components"]["schemas"].items()
        for key, time in times(schema["examples"], "")
        if not (time < "2026-12" or time > "2098")
        or (name in bodies and key in {"expires_at", "effective_at"} and time < "2098")
    ]
    assert rotting == []


def test_every_field_and_every_parameter_is_described(contract: Json) -> None:
    schemas = contract["components"]["schemas"]

    def described(schema: Json) -> bool:
        if "description" in schema or "const" in schema:
            return True
        return bool(schemas.get(schema.get("$ref", "").removeprefix(SCHEMAS), {}).get("description"))

    fields = [
        f"{name}.{key}"
        for name, schema in schemas.items()
        for key, field in schema.get("properties", {}).items()
        if not described(field)
    ]
    assert fields == []
    parameters = [
        f"{where} {parameter['name']}"
        for where, operation in operations(contract)
        for parameter in operation.get("parameters", ())
        if not parameter.get("description")
    ]
    assert parameters == []


def test_every_enumeration_choice_and_map_has_a_name(contract: Json) -> None:
    found = [
        where
        for name, schema in contract["components"]["schemas"].items()
        for where, inner in schemas_inside(schema, name)
        if needs_a_name(inner)
    ]
    for where, operation in operations(contract):
        for parameter in operation.get("parameters", ()):
            inner = [parameter["schema"], *(one for _, one in schemas_inside(parameter["schema"], ""))]
            found += [f"{where} {parameter['name']}" for one in inner if needs_a_name(one)]
    assert found == [], "give the type a name with TypeAliasType"


def test_no_schema_is_named_for_the_layer_it_is_of(contract: Json) -> None:
    odd = [
        name for name in contract["components"]["schemas"] if re.search(r"_|View$|Model$|Name$|Patch$", name)
    ]
    assert odd == []


def test_every_operation_says_what_it_does_and_is_named_for_it(contract: Json) -> None:
    for where, operation in operations(contract):
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", operation["operationId"]), where
        assert operation["summary"], where
        assert not operation["summary"].endswith("."), where
        assert len(operation["summary"]) <= 100, f"{where}: a summary is one line"
    tags = {tag["name"] for tag in contract["tags"] if tag["description"]}
    assert {tag for _, operation in operations(contract) for tag in operation["tags"]} == tags


def test_every_error_of_the_api_is_a_problem_under_its_media_type(contract: Json) -> None:
    shared = contract["components"]["responses"]
    for where, operation in operations(contract):
        if "/api/v1/" not in where:
            continue
        for status, answer in operation["responses"].items():
            if status < "400":
                continue
            name = answer["$ref"].removeprefix("#/components/responses/")
            assert list(shared[name]["content"]) == [MEDIA_TYPE], f"{where} {status}"
            assert shared[name]["content"][MEDIA_TYPE]["schema"] == {"$ref": SCHEMAS + "Problem"}


def test_an_operation_promises_what_follows_from_what_it_takes_and_no_more(contract: Json) -> None:
    for where, operation in operations(contract):
        if "/api/v1/" not in where:
            continue
        statuses = set(operation["responses"])
        names = {parameter["name"].lower() for parameter in operation.get("parameters", ())}
        assert ({"413", "415"} <= statuses) == ("requestBody" in operation), where
        assert ("412" in statuses) == ("if-match" in names), where
        needed = {each["name"].lower() for each in operation.get("parameters", ()) if each["required"]}
        assert ("428" in statuses) == ("if-match" in needed), where
        assert "404" in statuses or "{" not in where, where
        assert "409" in statuses or "idempotency-key" not in names, where
        if where.startswith("GET"):
            assert "409" not in statuses, where
        assert operation["security"] or {"401", "429"} <= statuses, where
        if operation["security"]:
            assert {"400", "401", "403", "429", "503"} <= statuses, where


def test_everything_that_is_shared_is_used(contract: Json) -> None:
    text = str(contract)
    for kind in ("schemas", "responses", "headers"):
        unused = [
            name for name in contract["components"][kind] if f"'#/components/{kind}/{name}'" not in text
        ]
        assert unused == [], kind


def test_no_path_can_be_read_as_another(contract: Json) -> None:
    """A fixed word never fits the parameter that another path has in its place: ids have patterns, numbers a type."""
    fits: dict[tuple[str, str], Any] = {}
    for path, item in contract["paths"].items():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    schema = parameter["schema"] | {"components": contract["components"]}
                    fits[path, f"{{{parameter['name']}}}"] = jsonschema_rs.Draft202012Validator(schema)

    def takes(path: str, part: str, word: str) -> bool:
        if not part.startswith("{"):
            return part == word
        types = fits[path, part]
        number = int(word) if word.isdigit() else word
        return bool(types.is_valid(word) or types.is_valid(number))

    paths = list(contract["paths"])
    for number, one in enumerate(paths):
        for other in paths[number + 1 :]:
            pairs = list(zip(one.split("/"), other.split("/"), strict=False))
            if one.count("/") != other.count("/"):
                continue
            both = [mine.startswith("{") and theirs.startswith("{") for mine, theirs in pairs]
            alike = all(
                is_open or takes(one, mine, theirs) or takes(other, theirs, mine)
                for is_open, (mine, theirs) in zip(both, pairs, strict=True)
            )
            assert not alike, f"{one} and {other}"

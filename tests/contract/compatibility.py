"""What in a newer contract would break a client of an older one.

A client sends what the old contract allowed, and reads what it promised. So nothing may be asked for that was not,
nothing refused that was accepted, nothing taken away that was answered. What is added is no break: operations,
optional parameters, fields of answers, values of enumerations in answers.
"""

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
_METHODS = {"get", "put", "post", "delete", "patch"}
# A greater value of these refuses more; for the others, a smaller one does.
_LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


def breaks(old: Json, new: Json) -> list[str]:
    """One line for each break; empty when every client of ``old`` can go on with ``new``."""
    return list(dict.fromkeys(_Comparison(old, new).run()))


class _Comparison:
    def __init__(self, old: Json, new: Json) -> None:
        self._old, self._new = old, new
        self._seen: set[tuple[str, str, bool]] = set()

    def run(self) -> Iterator[str]:
        for name in self._old["components"]["schemas"].keys() - self._new["components"]["schemas"].keys():
            yield f"schema {name}: is gone"
        for path, item in self._old["paths"].items():
            for method in _METHODS & item.keys():
                where = f"{method.upper()} {path}"
                after = self._new["paths"].get(path, {}).get(method)
                if after is None:
                    yield f"{where}: is gone"
                    continue
                yield from self._operation(where, item[method], after)

    def _operation(self, where: str, old: Json, new: Json) -> Iterator[str]:
        if old["operationId"] != new["operationId"]:
            yield f"{where}: is called {new['operationId']}"
        yield from self._parameters(where, old, new)
        yield from self._body(where, old, new)
        for status, answer in old["responses"].items():
            # Errors have one form; that one of them cannot happen any more breaks nobody.
            if not status.startswith("2"):
                continue
            after = new["responses"].get(status)
            if after is None:
                yield f"{where}: does not answer {status} any more"
                continue
            before, after = _resolved(self._old, answer), _resolved(self._new, after)
            for name in before.get("headers", {}).keys() - after.get("headers", {}).keys():
                yield f"{where}: {status} lost the header {name}"
            for media_type, content in before.get("content", {}).items():
                if media_type not in after.get("content", {}):
                    yield f"{where}: {status} is not {media_type} any more"
                    continue
                other = after["content"][media_type]
                yield from self._schema(f"{where}: {status}", content["schema"], other["schema"], sent=False)

    def _parameters(self, where: str, old: Json, new: Json) -> Iterator[str]:
        before = {(one["in"], one["name"].lower()): one for one in old.get("parameters", ())}
        after = {(one["in"], one["name"].lower()): one for one in new.get("parameters", ())}
        for key, parameter in before.items():
            if key not in after:
                yield f"{where}: does not take {parameter['name']} any more"
                continue
            inside = f"{where}: {parameter['name']}"
            if after[key].get("required") and not parameter.get("required"):
                yield f"{inside} is required now"
            yield from self._schema(inside, parameter["schema"], after[key]["schema"], sent=True)
        for key in after.keys() - before.keys():
            if after[key].get("required"):
                yield f"{where}: {after[key]['name']} is new and required"

    def _body(self, where: str, old: Json, new: Json) -> Iterator[str]:
        before, after = old.get("requestBody", {}), new.get("requestBody", {})
        if after.get("required") and not before.get("required"):
            yield f"{where}: needs a body now"
        for media_type, content in before.get("content", {}).items():
            if media_type not in after.get("content", {}):
                yield f"{where}: does not take {media_type} any more"
                continue
            other = after["content"][media_type]
            yield from self._schema(f"{where}: the body", content["schema"], other["schema"], sent=True)

    def _schema(self, where: str, old: Json, new: Json, *, sent: bool) -> Iterator[str]:
        if "$ref" in old and "$ref" in new:
            pair = (old["$ref"], new["$ref"], sent)
            if pair in self._seen:
                return
            self._seen.add(pair)
            where = f"{'sent' if sent else 'answered'} {old['$ref'].rpartition('/')[2]}"
        old, new = _resolved(self._old, old), _resolved(self._new, new)
        yield from self._kind(where, old, new, sent=sent)
        yield from _limits(where, old, new, sent=sent)
        yield from self._fields(where, old, new, sent=sent)
        for key in ("items", "additionalProperties"):
            if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
                yield from self._schema(f"{where}[]", old[key], new[key], sent=sent)

    def _kind(self, where: str, old: Json, new: Json, *, sent: bool) -> Iterator[str]:
        before, after = _choices(self._old, old), _choices(self._new, new)
        # What is sent must still be accepted, what is answered have been promised.
        narrow, wide = (before, after) if sent else (after, before)
        for kind in narrow.keys() - wide.keys():
            yield f"{where}: {kind} is {'refused' if sent else 'new'}"
        if len(before) > 1 or len(after) > 1:
            for kind in before.keys() & after.keys():
                yield from self._schema(where, before[kind], after[kind], sent=sent)
        values, others = old.get("enum", []), new.get("enum", [])
        if sent:
            for value in (set(values) - set(others)) if others else ():
                yield f"{where}: the value {value} is refused"

    def _fields(self, where: str, old: Json, new: Json, *, sent: bool) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in before.keys() - after.keys():
            yield f"{where}: the field {name} is gone"
        for name in before.keys() & after.keys():
            yield from self._schema(f"{where}.{name}", before[name], after[name], sent=sent)
        was, is_now = set(old.get("required", ())), set(new.get("required", ()))
        for name in (is_now - was) if sent else (was - is_now) & after.keys():
            yield f"{where}: the field {name} is {'required now' if sent else 'not always there any more'}"


def _limits(where: str, old: Json, new: Json, *, sent: bool) -> Iterator[str]:
    if not sent:
        return
    for key in _LOWER_BOUNDS:
        if key in new and new[key] > old.get(key, float("-inf")):
            yield f"{where}: {key} is {new[key]} now"
    for key in _UPPER_BOUNDS:
        if key in new and new[key] < old.get(key, float("inf")):
            yield f"{where}: {key} is {new[key]} now"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{where}: has the pattern {new['pattern']} now"


def _resolved(document: Json, value: Json) -> Json:
    while "$ref" in value:
        target: Json = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        value = target
    return value


def _choices(document: Json, schema: Json) -> dict[str, Json]:
    """The alternatives of a schema, by what tells them apart: a schema's name, or a type."""
    found: dict[str, Json] = {}
    for one in schema.get("oneOf") or schema.get("anyOf") or [schema]:
        if "$ref" in one and one is not schema:
            inner = _resolved(document, one)
            nested = "oneOf" in inner or "anyOf" in inner
            found |= _choices(document, inner) if nested else {one["$ref"].rpartition("/")[2]: one}
        else:
            found[str(one.get("type", "anything"))] = one
    return found

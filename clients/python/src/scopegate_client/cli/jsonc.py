"""Changes of one value in a JSON document that people edit, without changes of its comments, order and blanks. Comments
and trailing commas are allowed, as in the settings of editors."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_BLANK = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_PLAIN = re.compile(r"[-+.\w]+")
_MAX_DEPTH = 100


class NotJson(ValueError):
    """The text is not JSON, not even with comments."""


@dataclass(slots=True)
class _Node:
    """A value and its position."""

    start: int
    end: int
    value: Any
    members: "dict[str, _Node] | None" = None
    items: "list[_Node] | None" = None


def read(text: str) -> Any:
    """Read the value of a document; an empty one is an object without members."""
    return _parse(text).value if text.strip() else {}


def put(text: str, path: Sequence[str], value: Any) -> str:
    """Set the member at the path, and create missing objects on the way."""
    root = _object(text)
    node = root
    for depth, name in enumerate(path):
        if node.members is None:
            raise NotJson(f"{'.'.join(path[:depth])} is not an object")
        found = node.members.get(name)
        if found is None:
            for missing in reversed(path[depth + 1 :]):
                value = {missing: value}
            return _insert(text, node, depth, value, name)
        node = found
    indent = _indent_of(text)
    return text[: node.start] + _dump(value, indent, len(path)) + text[node.end :]


def append(text: str, name: str, item: Any) -> str:
    """Add an item to a list member of the document."""
    root = _object(text)
    found = (root.members or {}).get(name)
    if found is None:
        return put(text, [name], [item])
    if found.items is None:
        raise NotJson(f"{name} is not a list")
    return _insert(text, found, 1, item, None)


def _object(text: str) -> _Node:
    root = _parse(text)
    if root.members is None:
        raise NotJson("it is not an object")
    return root


def _insert(text: str, node: _Node, depth: int, value: Any, name: str | None) -> str:
    """Add an entry at the end of an object or list."""
    indent = _indent_of(text)
    key = "" if name is None else f"{json.dumps(name)}: "
    entry = f"{indent * (depth + 1)}{key}{_dump(value, indent, depth + 1)}"
    entries = list(node.members.values()) if node.members is not None else node.items or []
    closing = node.end - 1
    if not entries:
        head = text[: node.start + 1]
        inside = text[node.start + 1 : closing].rstrip()
        return f"{head}{inside}\n{entry}\n{indent * depth}{text[closing:]}"
    last = entries[-1].end
    rest = text[last:closing]
    comma = rest[len(_blank(rest)) :].startswith(",")
    kept = rest.rstrip()
    tail = "," if comma else ""
    return f"{text[:last]}{'' if comma else ','}{kept}\n{entry}{tail}\n{indent * depth}{text[closing:]}"


def _dump(value: Any, indent: str, depth: int) -> str:
    lines = json.dumps(value, indent=indent, ensure_ascii=False).split("\n")
    return f"\n{indent * depth}".join(lines)


def _indent_of(text: str) -> str:
    """The indentation of the document."""
    found = re.search(r"\n([ \t]+)\S", text)
    return found[1] if found else "  "


def _blank(text: str, at: int = 0) -> str:
    found = _BLANK.match(text, at)
    return found[0] if found else ""


def _parse(text: str) -> _Node:
    start = 1 if text.startswith("\ufeff") else 0
    node = _value(text, start + len(_blank(text, start)), 0)
    end = node.end + len(_blank(text, node.end))
    if end != len(text):
        raise NotJson(_where(text, end))
    return node


def _value(text: str, at: int, depth: int) -> _Node:
    if depth > _MAX_DEPTH:
        raise NotJson("it is nested too deeply")
    if text.startswith("{", at):
        return _members(text, at, depth)
    if text.startswith("[", at):
        return _items(text, at, depth)
    found = _STRING.match(text, at) or _PLAIN.match(text, at)
    if found is None:
        raise NotJson(_where(text, at))
    try:
        return _Node(at, found.end(), json.loads(found[0]))
    except ValueError:
        raise NotJson(_where(text, at)) from None


def _members(text: str, at: int, depth: int) -> _Node:
    members: dict[str, _Node] = {}
    place = _skip(text, at + 1)
    while not text.startswith("}", place):
        name = _value(text, place, depth + 1)
        place = _skip(text, name.end)
        if not isinstance(name.value, str) or not text.startswith(":", place) or name.value in members:
            raise NotJson(_where(text, name.start))
        members[name.value] = _value(text, _skip(text, place + 1), depth + 1)
        place = _after_entry(text, members[name.value].end, "}")
    value = {name: node.value for name, node in members.items()}
    return _Node(at, place + 1, value, members=members)


def _items(text: str, at: int, depth: int) -> _Node:
    items: list[_Node] = []
    place = _skip(text, at + 1)
    while not text.startswith("]", place):
        items.append(_value(text, place, depth + 1))
        place = _after_entry(text, items[-1].end, "]")
    return _Node(at, place + 1, [node.value for node in items], items=items)


def _after_entry(text: str, at: int, closing: str) -> int:
    """The position of the next entry, or of the end of the list."""
    place = _skip(text, at)
    if text.startswith(",", place):
        return _skip(text, place + 1)
    if not text.startswith(closing, place):
        raise NotJson(_where(text, place))
    return place


def _skip(text: str, at: int) -> int:
    return at + len(_blank(text, at))


def _where(text: str, at: int) -> str:
    line = text.count("\n", 0, at) + 1
    return f"line {line}, column {at - text.rfind(chr(10), 0, at)}"

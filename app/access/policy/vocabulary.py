"""What policies are written in: entity types, actions and the context, as a Cedar schema. A published contract.

Within a version things are added alone, so that a policy that was valid stays so. ``docs/policy-reference.md``
explains it to those who write policies.
"""

from collections.abc import Mapping

from app.domain.arguments import ArgumentKind, ArgumentType

VERSION = 1
_SCHEMA = """\
// A group of people and agents. Its id is "grp_...".
entity Group;

// A person or an agent. Its id is "idn_...". Its tags are its attributes.
entity Identity in [Group] = {
  kind: String, // "person" or "agent"
  owner?: Identity, // who answers for an agent
} tags String;

// An MCP server. Its id is its slug. Its tags are its labels.
entity Server = {
  slug: String,
} tags String;

// A tool. Its id is "<slug>/<name>". Its tags are its server's labels.
entity Tool in [Server] = {
  name: String,
  risk: String, // "read", "write", "destructive" or "unknown"
  server: Server,
} tags String;

// The time of the call, in the zone that the deployment names.
type Time = {
  hour: Long, // 0 to 23
  minute: Long, // 0 to 59
  minute_of_day: Long, // 0 to 1439
  weekday: String, // "monday" to "sunday"
  date: datetime, // the local date, at midnight
};

// The MCP client program, as it calls itself.
type Client = {
  name?: String,
  version?: String,
};

type Token = {
  id: String, // "tok_..."
  depth: Long, // 0, or how many times it was attenuated
};

// Call a tool. The arguments are those that its approved input schema declares.
action "call_tool" appliesTo {
  principal: [Identity],
  resource: [Tool],
  context: { arguments: ARGUMENTS, time: Time, client: Client, ip?: ipaddr, token: Token },
};

// Read, list or follow resources.
action "use_resources" appliesTo {
  principal: [Identity],
  resource: [Server],
  context: { arguments: { uri?: String }, time: Time, client: Client, ip?: ipaddr, token: Token },
};

// Get or list prompts.
action "use_prompts" appliesTo {
  principal: [Identity],
  resource: [Server],
  context: { arguments: { name?: String }, time: Time, client: Client, ip?: ipaddr, token: Token },
};

// Reach a server at all: initialize, and lists.
action "use_server" appliesTo {
  principal: [Identity],
  resource: [Server],
  context: { time: Time, client: Client, ip?: ipaddr, token: Token },
};
"""
_TYPES = {
    ArgumentKind.STRING: "String",
    ArgumentKind.BOOLEAN: "Bool",
    ArgumentKind.INTEGER: "Long",
    ArgumentKind.NUMBER: "decimal",
}


def schema_text(arguments: Mapping[str, ArgumentType] | None = None) -> str:
    """The vocabulary, with ``context.arguments`` of a tool that takes these; without any when it is not said.

    Arguments without a type of their own are left out, since Cedar has none for them: see ``untyped_arguments``.
    """
    return _SCHEMA.replace("ARGUMENTS", _record(arguments or {}))


def untyped_arguments(arguments: Mapping[str, ArgumentType]) -> frozenset[str]:
    """Arguments that have, or in which something has, no one type that Cedar knows.

    They are read by the value that a call brings, so a policy that reads them can't be validated beforehand.
    """
    return frozenset(name for name, declared in arguments.items() if _is_untyped(declared))


def _is_untyped(declared: ArgumentType) -> bool:
    if declared.kind is ArgumentKind.ARRAY:
        return declared.items is None or _is_untyped(declared.items)
    if declared.kind is ArgumentKind.OBJECT:
        return not declared.properties or any(_is_untyped(each) for each in declared.properties.values())
    return declared.kind is ArgumentKind.ANY


def _record(properties: Mapping[str, ArgumentType]) -> str:
    found = {name: _type(declared) for name, declared in properties.items()}
    parts = (
        f"{quoted(name)}{'' if properties[name].required else '?'}: {written}"
        for name, written in found.items()
        if written is not None
    )
    return "{ " + ", ".join(parts) + " }"


def _type(declared: ArgumentType) -> str | None:
    if declared.kind is ArgumentKind.OBJECT:
        return _record(declared.properties)
    if declared.kind is ArgumentKind.ARRAY:
        item = None if declared.items is None else _type(declared.items)
        return None if item is None else f"Set<{item}>"
    return _TYPES.get(declared.kind)


def quoted(text: str) -> str:
    """A string literal of Cedar (schema or policy) that stands for exactly this text."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character == " " or character.isprintable() else f"\\u{{{ord(character):x}}}"

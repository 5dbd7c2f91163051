"""Labels of the API's fields, for errors in fields that a page does not show."""

_LABELS = {
    "args": "Arguments",
    "at": "Time",
    "auth_method": "Client authentication method",
    "changes": "Policies",
    "client_id": "Client id",
    "confirm": "Confirmation",
    "days": "Calls of the last days",
    "definition_digest": "Definition",
    "delivery": "Delivery of the secret",
    "effective_at": "When",
    "env_names": "Environment variables",
    "event_id": "Event",
    "expect": "Expected",
    "expires_at": "Expiry",
    "grant_id": "Grant",
    "group_id": "Group",
    "identity_id": "Who it is for",
    "ip": "Client address",
    "ip_allow": "Allowed client addresses",
    "items": "Grants",
    "keep_arguments": "Keep arguments of calls",
    "lasts": "Lifetime",
    "new_tools": "Tools that a later sync finds",
    "not_before": "Start time",
    "overlap_s": "Overlap of the current secret",
    "owner_group_id": "Owner group",
    "owner_id": "Owner of the agent",
    "parent_id": "Parent token",
    "part": "Requested part",
    "policy_id": "Policy",
    "principal": "Holder",
    "requestable": "Access requests",
    "server_id": "Server",
    "server_ids": "Servers",
    "since": "Start time",
    "text": "Policy",
    "token_id": "Token",
    "token_url": "Token endpoint",
    "transfer_agents_to": "New owner of the agents",
    "unused_for_days": "Days without use",
    "url": "URL",
    "variables": "Environment variables",
}
# Objects that only group fields, and so need no label.
_CONTAINERS = frozenset({"access", "parameters", "request"})
# Objects whose members are named by users.
_NAMED = frozenset({"attributes", "labels", "variables"})


def label_of_pointer(pointer: str) -> str:
    """The label of a JSON pointer: ``/principal/id`` is "Holder", ``/tests/1/name`` is "Tests, no. 2, name"."""
    first, *within = pointer.lstrip("/?").split("/")
    if first in _CONTAINERS and within:
        first, *within = within
    if not first:
        return "The form"
    said = [_label(first)]
    before = first
    for part in within:
        if before in _NAMED:
            said.append(part)
        elif part.isdecimal():
            said.append(f"no. {int(part) + 1}")
        elif len(said) > 1:
            said.append(_label(part).lower())
        before = part
    return ", ".join(said)


def _label(name: str) -> str:
    return _LABELS.get(name) or name.replace("_", " ").capitalize()

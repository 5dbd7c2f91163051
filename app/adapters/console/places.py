"""What a field is called in the API's models, in words for people: no page has a field for each of them."""

_WORDS = {
    "args": "Arguments",
    "at": "Moment",
    "auth_method": "How the client proves itself",
    "changes": "Policies",
    "client_id": "Client id",
    "confirm": "Confirmation",
    "days": "Calls of the last days",
    "definition_digest": "Definition",
    "delivery": "How the secret is handed over",
    "effective_at": "When",
    "env_names": "Environment variables",
    "event_id": "Event",
    "expect": "Expected",
    "expires_at": "Until when",
    "grant_id": "Grant",
    "group_id": "Group",
    "identity_id": "Who it is for",
    "ip": "Address that the call comes from",
    "ip_allow": "Addresses that it may be used from",
    "items": "Grants",
    "keep_arguments": "Keep arguments of calls",
    "lasts": "How long it lasts",
    "new_tools": "Tools that a later sync finds",
    "not_before": "From when",
    "overlap_s": "How long the secret so far works",
    "owner_group_id": "Owner group",
    "owner_id": "Who answers for the agent",
    "parent_id": "Token that it is made from",
    "part": "What is asked for",
    "policy_id": "Policy",
    "principal": "Who holds it",
    "requestable": "Whether people can ask for access",
    "server_id": "Server",
    "server_ids": "Servers",
    "since": "Since when",
    "text": "Policy",
    "token_id": "Token",
    "token_url": "Token endpoint",
    "transfer_agents_to": "Who gets the agents",
    "unused_for_days": "Not used for",
    "url": "URL",
    "variables": "Environment variables",
}
# These only hold the fields of a form together.
_AROUND = frozenset({"access", "parameters", "request"})
# What is within these has a name that somebody gave it.
_NAMED = frozenset({"attributes", "labels", "variables"})


def in_words(pointer: str) -> str:
    """The place that a JSON pointer names: ``/principal/id`` as "Who holds it", ``/tests/1/name`` as "Tests, no. 2,
    name".

    How a field is put together says nothing to people; which of several it is, and what of that one, does.
    """
    first, *within = pointer.lstrip("/?").split("/")
    if first in _AROUND and within:
        first, *within = within
    if not first:
        return "The form"
    said = [_words(first)]
    before = first
    for part in within:
        if before in _NAMED:
            said.append(part)
        elif part.isdecimal():
            said.append(f"no. {int(part) + 1}")
        elif len(said) > 1:
            said.append(_words(part).lower())
        before = part
    return ", ".join(said)


def _words(name: str) -> str:
    return _WORDS.get(name) or name.replace("_", " ").capitalize()

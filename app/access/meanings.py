"""What the reason of a decision means, in words for whoever was refused, and what can be done about it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Meaning:
    """``says`` is a sentence; ``remedy`` another, or ``None`` where nothing has to be mended."""

    says: str
    remedy: str | None = None


_ASK_FOR_ACCESS = "Ask for access: a grant that covers it has to be made."
_NEW_TOKEN = "Issue a new token, or ask an administrator for one."
_WAIT = (
    "Wait a minute. If it comes again, have the program call less often, or an administrator raise the limit."
)

MEANINGS: dict[str, Meaning] = {
    "granted": Meaning("The scope of the token reaches it, and a live grant allows it."),
    "approved": Meaning("Policies asked for approvals, and all of them were there."),
    "filtered": Meaning("It is a list, which shows what the token may use."),
    "token_live": Meaning("The token is good; what each server adds was decided apart."),
    "approval_required": Meaning(
        "Somebody has to approve the call first.",
        "Once it is approved, repeat the very same call.",
    ),
    "approval_denied": Meaning(
        "Somebody was asked to approve the call, and said no.",
        "The approval says who decided and why. It is not asked for again until it has expired.",
    ),
    "approval_uncovered": Meaning(
        "The call needs an approval, and its request carried more than an approval covers, or answers to a question "
        "of a call whose approval was used up.",
        "Begin the call again, with its name and arguments only.",
    ),
    "approval_declined": Meaning(
        "The person at the client declined to have the call approved.",
        "Repeat the call, and agree when the client asks.",
    ),
    "too_many_approvals": Meaning(
        "So many approvals wait for a decision that no more are asked for.",
        "Wait until some of them are decided.",
    ),
    "quota_exceeded": Meaning(
        "A policy counts such calls, and none is left today.",
        "Wait until tomorrow, or have an administrator change the policy.",
    ),
    "policy_denied": Meaning(
        "A policy forbids it.", "The explanation names the policy; an administrator can change it."
    ),
    "policy_not_permitted": Meaning(
        "No policy permits it, and here a policy has to.",
        "An administrator can publish a policy that permits it.",
    ),
    "policy_error": Meaning(
        "A policy could not be evaluated on this call, so it was not allowed.",
        "Check the types of the arguments; the explanation shows what failed.",
    ),
    "no_grant": Meaning("No live grant of the identity or its groups reaches it.", _ASK_FOR_ACCESS),
    "outside_scope": Meaning(
        "The scope of the token does not reach it.",
        "Issue a new token with a scope that reaches it. A token cannot be widened.",
    ),
    "server_unknown": Meaning("There is no such server.", "Check the name in the address of the client."),
    "server_disabled": Meaning("The server is switched off.", "An administrator can switch it on again."),
    "tool_unknown": Meaning(
        "The server has no such tool.",
        "Check the name. If the server has it by now, sync the server.",
    ),
    "tool_quarantined": Meaning(
        "The tool is new or has changed, and nobody has approved it yet.",
        "An administrator has to review and approve its definition.",
    ),
    "task_unknown": Meaning("There is no such task of this token at this server.", "Start the call again."),
    "version_unsupported": Meaning(
        "The client speaks a version of MCP that does not exist.", "Update the client."
    ),
    "token_revoked": Meaning("The token was revoked.", _NEW_TOKEN),
    "token_expired": Meaning("The token has expired.", _NEW_TOKEN),
    "secret_rotated": Meaning(
        "The secret is not, or no longer, one of the token's.",
        "Give the client the secret of the last rotation.",
    ),
    "address_not_allowed": Meaning(
        "The request came from an address that the token may not be used from.",
        "Use it from an allowed network, or issue a token that allows this one.",
    ),
    "identity_suspended": Meaning(
        "The identity of the token is suspended.", "An administrator can reinstate it."
    ),
    "identity_offboarded": Meaning(
        "The identity of the token was offboarded.",
        "Nothing that it had comes back. Once it is reinstated, it needs a new token.",
    ),
    "owner_suspended": Meaning(
        "The person who answers for the agent is suspended.",
        "An administrator can reinstate the person, or give the agent to somebody else.",
    ),
    "owner_offboarded": Meaning(
        "The person who answers for the agent was offboarded.",
        "An administrator can give the agent to somebody else.",
    ),
    "rate_limited": Meaning("The token, or its identity, made more requests than it may in a minute.", _WAIT),
    "too_many_at_once": Meaning(
        "The token, or its identity, had more requests under way than it may.", _WAIT
    ),
    "request_malformed": Meaning(
        "A request was no single JSON-RPC message with one meaning: a batch, bad JSON, a member twice or in another "
        "case, or a wrong HTTP method or media type.",
        "Update the client, or find out who else uses the token.",
    ),
    "headers_mismatch": Meaning(
        "A header of a request was missing, came twice, or said something else than its body.",
        "Update the client, or find out who else uses the token.",
    ),
    "parameters_invalid": Meaning(
        "The parameters of a request had the wrong shape.", "Correct the request, or update the client."
    ),
    "method_unknown": Meaning(
        "A request named a method that the gateway does not carry.", "The reference of MCP lists the methods."
    ),
    "session_unknown": Meaning(
        "A request named a session that has ended, or that belongs to another token or server.",
        "Initialize a new session.",
    ),
    "too_many_streams": Meaning(
        "The token, or its identity, held more streams open than it may.",
        "Close clients that are not in use.",
    ),
}

HIDDEN = frozenset(
    {"no_grant", "outside_scope", "server_unknown", "server_disabled", "tool_unknown", "tool_quarantined"}
)
"""Reasons that whoever is refused may not tell apart: they would say what there is out of their reach."""

OUT_OF_REACH = Meaning(
    "It asked for something that it does not reach, or that does not exist.",
    "Check the names. To reach more, ask for access.",
)


def meaning_of(reason_code: str) -> Meaning:
    """The words for a reason; for one without any, the reason itself."""
    return MEANINGS.get(reason_code, Meaning(f"The reason was {reason_code}."))

"""What a caller is told of a request that policy holds back: in words, with the event that explains it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.admission.store import ApprovalState, NeededApproval
from app.gateway.pipeline import ApprovalNeeded, Denied
from app.gateway.wire.refusals import Refused, invalid_params
from app.lib.ids import APPROVAL, EVENT, format_id

EVENT_KEY = "io.scopegate/event"
APPROVALS_KEY = "io.scopegate/approvals"

Link = Callable[[UUID], str]
"""Where an approval is decided: an address that tells nothing but its id."""

_WORDS = {
    "policy_denied": "Policy does not allow this call.",
    "policy_not_permitted": "No policy permits this call.",
    "policy_error": "A policy could not be evaluated for this call, so it is not allowed.",
    "quota_exceeded": "A quota of such calls is used up for now. Policy does not allow another.",
    "too_many_approvals": "So many approvals wait for a decision that no more are asked for: wait for some of them.",
    "not_covered_by_approval": "This call needs an approval, which covers its name and arguments only. This request "
    "carries more, or belongs to a call whose approval is used up. Begin the call again, without further members of "
    "params.",
    "approval_declined": "Its user declined to have this call approved, so it did not run.",
}
_SHOWN = {ApprovalState.APPROVED: "approved", ApprovalState.DENIED: "denied"}


def denial_text(denied: Denied, link: Link) -> str:
    """What happened, why, and what can be done about it."""
    decision = denied.decision
    if isinstance(denied, ApprovalNeeded):
        lines = _approvals_text(denied, link)
    else:
        usual = f"Policy does not allow this call ({decision.reason_code})."
        lines = [_WORDS.get(decision.reason_code, usual), *decision.reasons]
    return "\n".join([*lines, f"The audit event {event_of(denied)} explains it."])


def denied_result(denied: Denied, link: Link, *, modern: bool) -> dict[str, Any]:
    """The same as a tool's result, so that the model can react."""
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": denial_text(denied, link)}],
        "isError": True,
        "_meta": denial_meta(denied, link),
    }
    if modern:
        result["resultType"] = "complete"
    return result


def denied_request(denied: Denied, link: Link, *, modern: bool) -> Refused:
    """The same as an error, where there is no result that could say it."""
    refused = invalid_params(denial_text(denied, link), modern)
    refused.data = denial_meta(denied, link)
    return refused


def denial_meta(denied: Denied, link: Link) -> dict[str, Any]:
    """The same for programs."""
    meta: dict[str, Any] = {EVENT_KEY: event_of(denied)}
    if isinstance(denied, ApprovalNeeded):
        meta[APPROVALS_KEY] = [
            {
                "id": format_id(APPROVAL, each.id),
                "url": link(each.id),
                "group": each.group,
                "state": _SHOWN.get(each.state, "pending"),
            }
            for each in denied.approvals
        ]
    return meta


def event_of(denied: Denied) -> str:
    """The id of the event, as the API knows it."""
    return format_id(EVENT, denied.event_id)


def asked_text(approval: NeededApproval) -> str:
    """Who has to approve it and why, as one line."""
    because = f" {' '.join(approval.reasons)}" if approval.reasons else ""
    return f'Somebody of the group "{approval.group}" has to approve it.{because}'


def _approvals_text(denied: ApprovalNeeded, link: Link) -> list[str]:
    refused = [each for each in denied.approvals if each.state is ApprovalState.DENIED]
    if refused:
        until = datetime.fromtimestamp(min(each.expires_at for each in refused), UTC)
        return [
            "This call was not approved, and did not run.",
            *(_refused_text(each) for each in refused),
            f"The same call is not asked about again before {until:%Y-%m-%d %H:%M:%S} UTC.",
        ]
    return [
        "This call needs an approval, and did not run.",
        *(_needed_text(each, link) for each in denied.approvals),
        "Repeat the very same call when it is approved.",
    ]


def _refused_text(approval: NeededApproval) -> str:
    because = f": {approval.decision_reason}" if approval.decision_reason else "."
    return f'Somebody of the group "{approval.group}" said no{because}'


def _needed_text(approval: NeededApproval, link: Link) -> str:
    if approval.state is ApprovalState.APPROVED:
        return f'The group "{approval.group}" has approved it.'
    again = "The last approval ran out. " if approval.state is ApprovalState.ASKED_AGAIN else ""
    return f"{again}{asked_text(approval)} They decide at {link(approval.id)}"

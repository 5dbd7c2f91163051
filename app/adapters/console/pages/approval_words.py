"""Approvals in words: what is asked for, how it stands, and why there may be nothing to decide."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.pages.grant_words import words_of_tools
from app.adapters.console.pages.people import ERASED
from app.domain.risk import Risk
from app.features.approvals.ask import selected, tools_of
from app.features.approvals.schemas import ApprovalView, RequestableTool

_ENDED_CALL = {
    "approved": "When the call is repeated, it runs once.",
    "denied": "The caller is told, with the reason.",
    "expired": "It was not decided, or not used, in time. When the call is repeated, it asks for another approval.",
    "cancelled": "It ended with the token, the identity or the group that it rested on.",
    "consumed": "The call that it was for has run. It lets no other through.",
}
_ENDED_ACCESS = {
    "approved": "It became a grant in the same moment.",
    "denied": "Nothing was given.",
    "expired": "Nobody decided it in time. It can be asked for once more.",
    "cancelled": "It was taken back, or ended with whoever it was for.",
}
_VOID = {
    "token_ended": "No call can use it any more: the token that asked is revoked or expired.",
    "identity_offboarded": "It is of no use any more: whoever asked is offboarded.",
    "definition_changed": "No call can use it any more: the tool is gone, or its definition is another one.",
    "risk_changed": "No call can use it any more: the risk of the tool was changed.",
    "policies_changed": "No call can use it any more: a policy that asked was changed.",
    "not_requestable": "It cannot be given any more: the server cannot be asked for now.",
}
# Of several tools, the one that most has to be thought about.
_GRAVEST = (Risk.DESTRUCTIVE, Risk.UNKNOWN, Risk.WRITE, Risk.READ)


@dataclass(frozen=True, slots=True)
class Row:
    """An approval as lists show it; ``tools``: those that access is asked to, in words; ``risk``: the gravest."""

    it: ApprovalView
    what: str
    who: str
    why: str
    risk: Risk | None
    tools: str | None

    @property
    def decides(self) -> bool:
        """Whether there is something to decide, for the one who looks."""
        return self.it.may_decide and self.it.void is None


async def rows_of(session: AsyncSession, found: Sequence[ApprovalView]) -> list[Row]:
    """Approvals as lists show them."""
    asked = {view.server.id for view in found if view.access is not None and view.server is not None}
    tools = await tools_of(session, asked)
    return [_row(view, [] if view.server is None else tools.get(view.server.id, [])) for view in found]


def headline(view: ApprovalView) -> str:
    """What is asked for, in a few words."""
    if view.access is not None:
        name = None if view.server is None else view.server.name or view.server.slug
        return f"Access to {name or 'a server that has ended'}"
    tool = "a call" if view.tool is None else view.tool.name
    server = "a server" if view.server is None else view.server.slug or "a server that has ended"
    return f"{tool} on {server}"


def who_asks(view: ApprovalView) -> str:
    """Whose call it is, or for whom access is asked."""
    return view.identity.name or ERASED


def explanation(view: ApprovalView, *, mine: bool) -> str | None:
    """Why there is nothing to decide for whoever looks, whose own it may be; None when there is."""
    if view.void is not None:
        return _VOID[view.void]
    if view.state != "pending":
        return (_ENDED_ACCESS if view.access is not None else _ENDED_CALL)[view.state]
    if view.may_decide:
        return None
    if mine:
        return "Somebody else decides this: it is your own, or that of an agent that you answer for."
    group = "approvers" if view.approver_group is None else f"{view.approver_group.name}, and approvers,"
    return f"You do not decide this one: {group} do, unless it is theirs."


def gravest(risks: Sequence[Risk]) -> Risk | None:
    """The risk among these that most has to be thought about."""
    return next((risk for risk in _GRAVEST if risk in risks), None)


def mark_of(found: Sequence[ApprovalView]) -> str:
    """What a list shows, in so few letters that a page can say what it has."""
    text = "\n".join(f"{view.id} {view.revision} {view.may_decide} {view.void}" for view in found)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _row(view: ApprovalView, tools: Sequence[RequestableTool]) -> Row:
    reasons = [view.reason, *(policy.reason for policy in view.policies)]
    risk = None if view.tool is None else view.tool.risk
    words = None
    if view.access is not None:
        risk = gravest([tool.risk for tool in selected(tools, view.access.tools)])
        words = words_of_tools(view.access.tools)
    why = next((reason for reason in reasons if reason), "")
    return Row(view, headline(view), who_asks(view), why, risk, words)

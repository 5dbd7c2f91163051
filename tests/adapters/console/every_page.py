"""The pages of the console, each as somebody sees it. Every page that there is has to be among them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """A page as somebody sees it.

    ``path`` names what is in the organisation as ``{notes}`` (see ``organisation.py``). ``who`` is ``alice``, who owns
    everything, or ``bob``, who has no role. ``bare``: it is also looked at where there is nothing yet. ``press`` is the
    button of a form on it that is sent as it stands, and ``shows`` what stands there then.
    """

    name: str
    path: str
    who: str = "alice"
    status: int = 200
    bare: bool = False
    press: str = ""
    shows: str = "h1"


CASES = (
    Case("home", "/console", bare=True),
    Case("nothing", "/console/nothing", status=404),
    Case("audit", "/console/audit", bare=True),
    Case("audit-filtered", "/console/audit?decision=deny&server_id={billing}&period=7d&live=off"),
    Case("audit-no-match", "/console/audit?tool=none&q=nobody"),
    Case("audit-call", "/console/audit/{denied_event}"),
    Case("audit-change", "/console/audit/{receipt}"),
    Case(
        "audit-arguments",
        "/console/audit/{allowed_event}",
        press="Show the arguments",
        shows="main [data-focus]",
    ),
    Case("not-permitted", "/console/explain", who="bob", status=403),
    Case("explain", "/console/explain", bare=True),
    Case("explain-denied", "/console/explain?event_id={denied_event}"),
    Case("explain-allowed", "/console/explain?event_id={allowed_event}"),
    Case("explain-missing", "/console/explain?identity_id={away}&server=billing&tool=read_note"),
    Case("explain-token", "/console/explain?token_id={odd_token}&server=billing&tool=delete_note"),
    Case("explain-nobody", "/console/explain?identity_id={away}&server=nowhere"),
    Case("test-token", "/console/tokens/{token}/check"),
    Case("test-token-found", "/console/tokens/{token}/check", press="Test connection", shows="#found"),
    Case(
        "test-own-token-found",
        "/console/my-access/tokens/{token}/check",
        who="bob",
        press="Test connection",
        shows="#found",
    ),
    Case("pickup", "/console/pickups/{pickup}", who="bob"),
    Case("my-access", "/console/my-access", who="bob"),
    Case("my-access-ended", "/console/my-access?status=revoked", who="bob"),
    Case("my-reach", "/console/my-access/reach", who="bob"),
    Case("my-access-empty", "/console/my-access", bare=True),
    Case("my-reach-empty", "/console/my-access/reach", bare=True),
    Case("my-token", "/console/my-access/tokens/{token}", who="bob"),
    Case("my-token-ended", "/console/my-access/tokens/{lost_token}?done=revoked", who="bob"),
    Case("my-token-rotate", "/console/my-access/tokens/{token}/rotate", who="bob"),
    Case(
        "my-token-rotated",
        "/console/my-access/tokens/{agent_token}/rotate",
        who="bob",
        press="Rotate",
        shows="#secret",
    ),
    Case("my-token-revoke", "/console/my-access/tokens/{token}/revoke", who="bob"),
    Case("pickup-taken", "/console/pickups/{pickup}", who="bob", press="Show the secret", shows="#secret"),
    Case("pickup-spent", "/console/pickups/{pickup}", who="bob"),
    Case("explain-unclear", "/console/explain?identity_id=nobody&server=billing", status=422),
    Case("test-own-token", "/console/my-access/tokens/{token}/check", who="bob"),
    Case("approvals", "/console/approvals", bare=True),
    Case("approval", "/console/approvals/{approval}"),
    Case("approval-access", "/console/approvals/{access_request}"),
    Case("approvals-over", "/console/approvals?tab=over", bare=True),
    Case("approvals-kind", "/console/approvals?kind=access"),
    Case("own-request", "/console/approvals/{access_request}", who="bob"),
    Case("request", "/console/my-access/request", who="bob"),
    Case("request-nothing", "/console/my-access/request", bare=True),
    Case("request-form", "/console/my-access/request/{billing}", who="bob"),
    Case("identities", "/console/identities", bare=True),
    Case("identities-agents", "/console/identities?kind=agent&owner_id={bob}"),
    Case("identities-no-match", "/console/identities?q=nobody-at-all"),
    Case("person-new", "/console/identities/new"),
    Case("agent-new", "/console/identities/new?kind=agent&q=a"),
    Case("agent-new-owner", "/console/identities/new?kind=agent&owner_id={bob}"),
    Case("identity", "/console/identities/{bob}"),
    Case("identity-odd", "/console/identities/{odd}"),
    Case("identity-agent", "/console/identities/{agent}"),
    Case("identity-suspended", "/console/identities/{away}"),
    Case("identity-leaving", "/console/identities/{leaving}?done=scheduled"),
    Case("identity-offboarded", "/console/identities/{leaver}"),
    Case("identity-access", "/console/identities/{bob}?tab=access"),
    Case("identity-access-one", "/console/identities/{bob}?tab=access&server_id={billing}"),
    Case("identity-access-none", "/console/identities/{leaving}?tab=access&server_id={billing}"),
    Case("identity-access-stopped", "/console/identities/{away}?tab=access"),
    Case("identity-tokens", "/console/identities/{bob}?tab=tokens"),
    Case("identity-activity", "/console/identities/{bob}?tab=activity"),
    Case("identity-edit", "/console/identities/{odd}/edit"),
    Case("agent-edit", "/console/identities/{agent}/edit?q=a"),
    Case("identity-suspend", "/console/identities/{bob}/suspend"),
    Case("identity-offboard", "/console/identities/{bob}/offboard?q=a"),
    Case("identity-offboard-heir", "/console/identities/{bob}/offboard?transfer_agents_to={odd}"),
    Case("identity-erase", "/console/identities/{leaver}/erase"),
    Case("receipts", "/console/offboarding-receipts", bare=True),
    Case("receipt", "/console/offboarding-receipts/{receipt}"),
    Case("scheduled", "/console/scheduled-offboardings", bare=True),
    Case("scheduled-cancel", "/console/scheduled-offboardings/{scheduled}/cancel"),
    Case("groups", "/console/groups", bare=True),
    Case("groups-no-match", "/console/groups?q=no-group-at-all"),
    Case("group-new", "/console/groups/new"),
    Case("group", "/console/groups/{group}"),
    Case("group-found", "/console/groups/{group}?q=a"),
    Case("group-grants", "/console/groups/{group}?tab=grants"),
    Case("group-edit", "/console/groups/{group}/edit"),
    Case("group-end", "/console/groups/{group}/end"),
    Case("matrix", "/console/access", bare=True),
    Case("matrix-no-match", "/console/access?q=nobody-at-all"),
)

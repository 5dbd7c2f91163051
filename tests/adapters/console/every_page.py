"""The pages of the console, each as somebody sees it. Every page that there is has to be among them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """A page as somebody sees it.

    ``path`` names what is in the organisation as ``{notes}`` (see ``organisation.py``). ``who`` is ``alice``, who owns
    everything, or ``bob``, who has no role. ``bare``: it is also looked at where there is nothing yet.
    """

    name: str
    path: str
    who: str = "alice"
    status: int = 200
    bare: bool = False


CASES = (
    Case("home", "/console", bare=True),
    Case("nothing", "/console/nothing", status=404),
    Case("not-permitted", "/console/explain", who="bob", status=403),
    Case("explain", "/console/explain", bare=True),
    Case("explain-denied", "/console/explain?event_id={denied_event}"),
    Case("explain-allowed", "/console/explain?event_id={allowed_event}"),
    Case("explain-missing", "/console/explain?identity_id={away}&server=billing&tool=read_note"),
    Case("explain-token", "/console/explain?token_id={odd_token}&server=billing&tool=delete_note"),
    Case("explain-nobody", "/console/explain?identity_id={away}&server=nowhere"),
    Case("test-token", "/console/tokens/{token}/check"),
    Case("test-own-token", "/console/my-access/tokens/{token}/check", who="bob"),
    Case("approvals", "/console/approvals", bare=True),
    Case("approval", "/console/approvals/{approval}"),
    Case("approval-access", "/console/approvals/{access_request}"),
)

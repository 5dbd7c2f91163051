"""Browser sign-in and sign-out with the organization's OpenID provider."""

import logging
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from app.adapters.console import attempts
from app.adapters.console.console import BROWSER, INVITATION, SESSION, CurrentConsole
from app.adapters.console.context import Submission, may_submit
from app.adapters.console.forms import MAX_FORM_BYTES, read_form
from app.adapters.console.menu import HOME, MY_ACCESS
from app.adapters.console.page import SIGN_OUT, PageRoute, error_page, page, redirect, sign_in_path
from app.db.change import Change
from app.db.clock import current_time
from app.domain import errors
from app.features.administrators import browser_sessions
from app.features.administrators.browser_sessions import SignedIn
from app.features.administrators.claims import ClaimsMismatch, workload_account
from app.features.administrators.sign_in import sign_in
from app.features.identity_providers import queries as providers
from app.features.invitations.schemas import PAGE as INVITED
from app.features.invitations.service import accept_invitation, open_invitation
from app.http.authorization import Caller, Permission
from app.http.rate_limits import client_address, source_of
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import IDENTITY_PROVIDER, IdentityProviderId, format_id

CALLBACK = "/login/callback"
SIGNED_OUT = "/signed-out"
_log = logging.getLogger(__name__)

router = APIRouter(include_in_schema=False, route_class=PageRoute)
# Not a page: providers call it.
back_channel = APIRouter(include_in_schema=False, route_class=TransactionalRoute)


@dataclass(frozen=True, slots=True)
class _Visit:
    """A request of a browser that is not signed in yet, with the services that it needs."""

    request: Request
    console: CurrentConsole
    runtime: CurrentRuntime

    @property
    def now(self) -> float:
        """The current time, in seconds since the epoch."""
        return self.runtime.clock.now()

    @property
    def browser(self) -> str | None:
        """The secret of the browser, if it began a sign-in before."""
        return attempts.parse_browser_secret(self.console.cookies.get(self.request, BROWSER))

    def check(self) -> None:
        """Limit sign-ins for each client address, since each makes the service ask the provider.

        Raises ``TooManyRequests``, and ``Malformed`` if cookies would travel over plain HTTP.
        """
        self.console.check_safe()
        source, sign_ins = source_of(client_address(self.request)), self.console.sign_ins
        standing = sign_ins.standing(source)
        if not sign_ins.take(source) and standing is not None:
            raise errors.TooManyRequests(
                "Too many sign-ins from your address.", retry_after_s=standing.reset_s
            )

    def resume(self, state: str) -> attempts.ResumedAttempt:
        """The attempt of this browser that the answer belongs to. Raises ``Malformed``."""
        return self.console.attempts.resume(self.browser, self.request.url.path, state, self.now)

    def keep_browser(self, response: Response, browser: str) -> Response:
        self.console.cookies.set(response, BROWSER, browser, attempts.LIFETIME)
        return response


async def _visit(request: Request, console: CurrentConsole, runtime: CurrentRuntime) -> _Visit:
    return _Visit(request, console, runtime)


Visit = Annotated[_Visit, Depends(_visit)]


@router.get("/login", operation_id="start_browser_sign_in")
async def start_sign_in(
    visit: Visit,
    next_path: Annotated[str | None, Query(alias="next")] = None,
    provider: IdentityProviderId | None = None,
    account: Literal["another"] | None = None,
) -> Response:
    """Redirect the browser to its provider; with several providers, show a choice."""
    visit.check()
    target, console = attempts.safe_target(next_path, HOME), visit.console
    async with visit.runtime.sessions() as session:
        found = await providers.browser_providers(session)
    chosen = {format_id(IDENTITY_PROVIDER, one.id): one for one in found if provider in {None, one.id}}
    if not chosen:
        raise errors.NotFound("No OpenID provider is configured for browser sign-in.")
    if len(chosen) > 1:
        more = {} if account is None else {"account": account}
        choices = [(one.name, sign_in_path(target, provider=id, **more)) for id, one in chosen.items()]
        return page(visit.request, "choose.html", choices=choices)
    [(id, only)] = chosen.items()
    # A path for each provider, so that none receives answers for another (RFC 9700 section 4.4). The environment's
    # provider has a fixed one, which is known before it is registered.
    callback = CALLBACK if only.environment else f"{CALLBACK}/{id}"
    browser = visit.browser or attempts.generate_browser_secret()
    attempt = console.attempts.begin(browser, only.id, callback, target, visit.now)
    address = await console.flow.start(only, attempt, another_account=account is not None)
    return visit.keep_browser(RedirectResponse(address, 302), browser)


@router.get(INVITED + "/{secret}", operation_id="open_invitation")
async def open_invited(visit: Visit, secret: str, session: Session) -> Response:
    """Keep the invitation in a cookie, remove it from the address, and sign in at its provider."""
    visit.check()
    found = await open_invitation(session, visit.runtime.peppers, secret)
    if found is None or found.status not in {"pending", "claimed"}:
        raise errors.NotFound(
            "This invitation does not exist or is no longer valid. Ask the administrator who sent it for another one."
        )
    provider = format_id(IDENTITY_PROVIDER, found.row.provider_id)
    response = redirect(sign_in_path(MY_ACCESS, provider=provider))
    visit.console.cookies.set(response, INVITATION, secret, attempts.LIFETIME)
    return response


@router.get(CALLBACK, operation_id="finish_browser_sign_in")
@router.get(f"{CALLBACK}/{{provider}}", operation_id="finish_browser_sign_in_at")
async def finish_sign_in(
    visit: Visit, session: Session, state: str = "", code: str = "", iss: str | None = None
) -> Response:
    """Handle the provider's answer and open a session."""
    visit.check()
    request, console, runtime, cookies = visit.request, visit.console, visit.runtime, visit.console.cookies
    resumed = visit.resume(state)
    if not code:
        raise errors.Malformed("Your provider did not sign you in. Sign in again, or ask its administrator.")
    signed_in = await _redeem(visit, resumed, code, iss)
    try:
        caller = await _admit(visit, signed_in)
    except errors.Forbidden as refusal:
        return await _offer_another(visit, resumed, signed_in, refusal)
    request_id = request.state.request_id
    change = await Change.begin(session, caller, request_id)
    cookie = await browser_sessions.open_session(change, runtime.peppers, signed_in, console.lifetimes)
    replaced = cookies.session(request)
    if replaced is not None:
        await browser_sessions.end_replaced_session(session, runtime.peppers, replaced, request_id)
    response = RedirectResponse(resumed.target, 303)
    cookies.set(response, SESSION, cookie, console.lifetimes.most)
    if cookies.get(request, INVITATION):
        cookies.end(response, INVITATION)
    return response


@router.post(SIGN_OUT, operation_id="sign_browser_out")
async def sign_out(sent: Annotated[Submission, may_submit(Permission.SELF_READ)]) -> Response:
    """End the session, and offer to end the one at the provider."""
    console, provider, onward = sent.console, None, None
    ended = await browser_sessions.end_session(sent.change, sent.viewer.cookie)
    if ended is not None:
        provider, id_token = ended
        onward = await console.flow.sign_out_address(provider, id_token, f"{console.public_url}{SIGNED_OUT}")
    response = page(sent.request, "signed_out.html", onward=onward, provider=provider, sign_in="/login")
    console.cookies.end(response, SESSION)
    return response


@router.get(SIGNED_OUT, operation_id="show_signed_out")
async def show_signed_out(visit: Visit, state: str = "") -> Response:
    """Show the page after a sign-out at the provider."""
    try:
        sign_in = sign_in_path(visit.resume(state).target)
    except errors.Malformed:
        # The state is missing or expired.
        sign_in = "/login"
    return page(visit.request, "signed_out.html", onward=None, provider=None, sign_in=sign_in)


@back_channel.post("/logout/back-channel", operation_id="take_back_channel_logout")
async def take_back_channel_logout(request: Request, console: CurrentConsole, session: Session) -> Response:
    """End sessions after a logout token (OpenID Connect Back-Channel Logout 1.0)."""
    try:
        fields = read_form(request, await request.body(), MAX_FORM_BYTES)
        said = await console.flow.read_logout(fields.text("logout_token"), request.state.request_id)
    except errors.Unavailable:
        raise
    except errors.DomainError as error:
        return JSONResponse({"error": "invalid_request", "error_description": error.detail}, 400)
    await browser_sessions.end_at_provider(session, said)
    return Response(status_code=200)


async def _offer_another(
    visit: _Visit, resumed: attempts.ResumedAttempt, signed_in: SignedIn, refusal: errors.Forbidden
) -> Response:
    """Show why the sign-in was refused, and how to use another account."""
    console, provider, target = visit.console, signed_in.provider, resumed.target
    back = console.attempts.begin(resumed.browser, provider.id, SIGNED_OUT, target, visit.now)
    onward = await console.flow.sign_out_address(provider, signed_in.id_token, back.redirect_uri, back.state)
    ways = {"another": sign_in_path(target, account="another"), "onward": onward, "provider": provider}
    return visit.keep_browser(error_page(visit.request, refusal, "not_let_in.html", **ways), resumed.browser)


async def _redeem(visit: _Visit, resumed: attempts.ResumedAttempt, code: str, iss: str | None) -> SignedIn:
    """Redeem the code. The result is kept with the request, since a retried transaction cannot redeem it again.

    No database connection is held while the provider is asked.
    """
    state = visit.request.state
    kept: SignedIn | None = getattr(state, "signed_in", None)
    if kept is None:
        async with visit.runtime.sessions() as session:
            found = await providers.browser_providers(session)
            now = (await current_time(session)).timestamp()
        provider = next((one for one in found if one.id == resumed.provider_id), None)
        if provider is None:
            raise errors.Malformed("This provider is no longer used for sign-in. Sign in again.")
        kept = state.signed_in = await visit.console.flow.finish(
            provider, resumed.attempt, code=code, issuer=iss, now=now, request_id=state.request_id
        )
    return kept


async def _admit(visit: _Visit, signed_in: SignedIn) -> Caller:
    """The caller of a signed-in person. Raises ``Forbidden``; the page never shows the reason."""
    request_id, runtime = visit.request.state.request_id, visit.runtime
    try:
        if workload_account(signed_in.provider, signed_in.claims) is not None:
            # Claims of a workload, which has no browser.
            raise _no_access()
        opened = visit.console.cookies.get(visit.request, INVITATION) or None
        await accept_invitation(runtime.sessions, runtime.peppers, signed_in, opened, request_id)
        caller = await sign_in(runtime.sessions, signed_in.provider, signed_in.claims, request_id)
    except ClaimsMismatch as error:
        _log.warning("request %s: a browser sign-in matches no identity: %s", request_id, error.reason)
        raise _no_access() from None
    except errors.Unauthenticated:
        raise _no_access() from None
    if caller.identity_id is None:
        raise _no_access()
    return caller


def _no_access() -> errors.Forbidden:
    return errors.Forbidden(
        "Your provider signed you in, but you have no access to this service: your account is unknown here, or your "
        "access has ended. Ask an administrator."
    )


router.include_router(back_channel)

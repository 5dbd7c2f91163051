"""Browser sign-in and sign-out with the organization's OpenID provider."""

import logging
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from app.adapters.console import attempts
from app.adapters.console.console import CurrentConsole
from app.adapters.console.context import Submission, may_submit
from app.adapters.console.forms import MAX_FORM_BYTES, read_form
from app.adapters.console.menu import HOME, MY_ACCESS
from app.adapters.console.page import SIGN_OUT, PageRoute, error_page, page, redirect, sign_in_path
from app.db.change import Change
from app.db.engine import database_time
from app.domain import errors
from app.features.administrators import browser_sessions
from app.features.administrators.browser_sessions import SignedIn
from app.features.administrators.claims import ClaimsMismatch, workload_account
from app.features.administrators.sign_in import sign_in
from app.features.identity_providers import queries as providers
from app.features.identity_providers.schemas import Provider
from app.features.invitations.schemas import PAGE as INVITED
from app.features.invitations.service import accept_invitation, open_invitation
from app.http.authorization import Caller, Permission
from app.http.rate_limits import client_address, source_of
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import IDENTITY_PROVIDER, IdentityProviderId, format_id

CALLBACK = "/login/callback"
SIGNED_OUT = "/signed-out"
_log = logging.getLogger(__name__)

router = APIRouter(include_in_schema=False, route_class=PageRoute)
# Not a page: providers call it.
back_channel = APIRouter(include_in_schema=False, route_class=TransactionalRoute)


@router.get("/login", operation_id="start_browser_sign_in")
async def start_sign_in(
    request: Request,
    console: CurrentConsole,
    runtime: CurrentRuntime,
    next_path: Annotated[str | None, Query(alias="next")] = None,
    provider: IdentityProviderId | None = None,
    account: Literal["another"] | None = None,
) -> Response:
    """Redirect the browser to its provider; with several providers, show a choice."""
    console.check_safe()
    _count(request, console)
    target = attempts.safe_target(next_path, HOME)
    async with runtime.sessions() as session:
        found = await providers.browser_providers(session)
    chosen = [one for one in found if provider in {None, one.id}]
    if not chosen:
        raise errors.NotFound("No OpenID provider is configured for browser sign-in.")
    if len(chosen) > 1:
        return page(request, "choose.html", choices=_choices(chosen, target, account))
    browser = (
        attempts.parse_browser_secret(console.cookies.browser(request)) or attempts.generate_browser_secret()
    )
    callback = _callback_path(chosen[0])
    attempt = console.attempts.begin(browser, chosen[0].id, callback, target, runtime.clock().timestamp())
    address = await console.flow.start(chosen[0], attempt, another_account=account is not None)
    response = RedirectResponse(address, 302)
    console.cookies.set_browser(response, browser, attempts.LIFETIME)
    return response


@router.get(INVITED + "/{secret}", operation_id="open_invitation")
async def open_invited(
    request: Request, secret: str, console: CurrentConsole, runtime: CurrentRuntime, session: Session
) -> Response:
    """Keep the invitation in a cookie, remove it from the address, and sign in at its provider."""
    console.check_safe()
    _count(request, console)
    found = await open_invitation(session, runtime.peppers, secret)
    if found is None or found.status not in {"pending", "claimed"}:
        raise errors.NotFound(
            "This invitation does not exist or is no longer valid. Ask the administrator who sent it for another one."
        )
    provider = format_id(IDENTITY_PROVIDER, found.row.provider_id)
    response = redirect(sign_in_path(MY_ACCESS, provider=provider))
    console.cookies.set_invitation(response, secret, attempts.LIFETIME)
    return response


@router.get(CALLBACK, operation_id="finish_browser_sign_in")
@router.get(f"{CALLBACK}/{{provider}}", operation_id="finish_browser_sign_in_at")
async def finish_sign_in(
    request: Request,
    console: CurrentConsole,
    runtime: CurrentRuntime,
    session: Session,
    state: str = "",
    code: str = "",
    iss: str | None = None,
) -> Response:
    """Handle the provider's answer and open a session."""
    console.check_safe()
    _count(request, console)
    resumed = _resume(request, console, runtime, state)
    if not code:
        raise errors.Malformed("Your provider did not sign you in. Sign in again, or ask its administrator.")
    signed_in = await _redeem(request, console, runtime, resumed, code, iss)
    try:
        caller = await _admit(request, console, runtime, signed_in)
    except errors.Forbidden as refusal:
        return await _offer_another(request, console, runtime, resumed, signed_in, refusal)
    change = Change(session, caller, request.state.request_id, runtime.clock())
    cookie = await browser_sessions.open_session(change, runtime.peppers, signed_in, console.lifetimes)
    replaced = console.cookies.session(request)
    if replaced is not None:
        await browser_sessions.end_replaced_session(
            session, runtime.peppers, replaced, request.state.request_id
        )
    response = RedirectResponse(resumed.target, 303)
    console.cookies.set_session(response, cookie, console.lifetimes.most)
    if console.cookies.invitation(request) is not None:
        console.cookies.end_invitation(response)
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
    console.cookies.end_session(response)
    return response


@router.get(SIGNED_OUT, operation_id="show_signed_out")
async def show_signed_out(
    request: Request, console: CurrentConsole, runtime: CurrentRuntime, state: str = ""
) -> Response:
    """Show the page after a sign-out at the provider."""
    try:
        sign_in = sign_in_path(_resume(request, console, runtime, state).target)
    except errors.Malformed:
        # The state is missing or expired.
        sign_in = "/login"
    return page(request, "signed_out.html", onward=None, provider=None, sign_in=sign_in)


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


def _callback_path(provider: Provider) -> str:
    """The redirect path of a provider: one for each, so that no provider receives answers for another (RFC 9700 section
    4.4). The environment's provider has a fixed one, which is known before it is registered."""
    return CALLBACK if provider.environment else f"{CALLBACK}/{format_id(IDENTITY_PROVIDER, provider.id)}"


def _choices(found: list[Provider], target: str, account: str | None) -> list[tuple[str, str]]:
    """Providers by name, with the address that selects each."""
    more = {} if account is None else {"account": account}
    return [
        (one.name, sign_in_path(target, provider=format_id(IDENTITY_PROVIDER, one.id), **more))
        for one in found
    ]


def _resume(
    request: Request, console: CurrentConsole, runtime: Runtime, state: str
) -> attempts.ResumedAttempt:
    """The attempt of this browser that the answer belongs to. Raises ``Malformed``."""
    browser = attempts.parse_browser_secret(console.cookies.browser(request))
    return console.attempts.resume(browser, request.url.path, state, runtime.clock().timestamp())


async def _offer_another(
    request: Request,
    console: CurrentConsole,
    runtime: Runtime,
    resumed: attempts.ResumedAttempt,
    signed_in: SignedIn,
    refusal: errors.Forbidden,
) -> Response:
    """Show why the sign-in was refused, and how to use another account."""
    provider, target, now = signed_in.provider, resumed.target, runtime.clock().timestamp()
    back = console.attempts.begin(resumed.browser, provider.id, SIGNED_OUT, target, now)
    onward = await console.flow.sign_out_address(provider, signed_in.id_token, back.redirect_uri, back.state)
    another = sign_in_path(target, account="another")
    response = error_page(
        request, refusal, "not_let_in.html", another=another, onward=onward, provider=provider
    )
    console.cookies.set_browser(response, resumed.browser, attempts.LIFETIME)
    return response


async def _redeem(
    request: Request,
    console: CurrentConsole,
    runtime: Runtime,
    resumed: attempts.ResumedAttempt,
    code: str,
    iss: str | None,
) -> SignedIn:
    """Redeem the code. The result is kept with the request, since a retried transaction cannot redeem it again.

    No database connection is held while the provider is asked.
    """
    kept: SignedIn | None = getattr(request.state, "signed_in", None)
    if kept is None:
        provider, now = await _provider(runtime, resumed)
        kept = request.state.signed_in = await console.flow.finish(
            provider, resumed.attempt, code=code, issuer=iss, now=now, request_id=request.state.request_id
        )
    return kept


async def _provider(runtime: Runtime, resumed: attempts.ResumedAttempt) -> tuple[Provider, float]:
    async with runtime.sessions() as session:
        found = await providers.browser_providers(session)
        now = await database_time(session)
    for one in found:
        if one.id == resumed.provider_id:
            return one, now.timestamp()
    raise errors.Malformed("This provider is no longer used for sign-in. Sign in again.")


async def _admit(request: Request, console: CurrentConsole, runtime: Runtime, signed_in: SignedIn) -> Caller:
    """The caller of a signed-in person. Raises ``Forbidden``; the page never shows the reason."""
    request_id = request.state.request_id
    try:
        if workload_account(signed_in.provider, signed_in.claims) is not None:
            # Claims of a workload, which has no browser.
            raise _no_access()
        opened = console.cookies.invitation(request)
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


def _count(request: Request, console: CurrentConsole) -> None:
    """Limit sign-ins for each client address, since each makes the service ask the provider."""
    source = source_of(client_address(request))
    standing = console.sign_ins.standing(source)
    if not console.sign_ins.take(source) and standing is not None:
        raise errors.TooManyRequests("Too many sign-ins from your address.", retry_after_s=standing.reset_s)


router.include_router(back_channel)

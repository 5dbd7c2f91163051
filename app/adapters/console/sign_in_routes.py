"""Signing in with a browser and out again, at the organisation's OpenID provider."""

import logging
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from app.adapters.console.attempts import LIFETIME, Resumed, known_browser, new_browser, safe_target
from app.adapters.console.console import CurrentConsole
from app.adapters.console.forms import LARGEST, read_form
from app.adapters.console.menu import HOME, MY_ACCESS
from app.adapters.console.page import SIGN_OUT, PageRoute, error_page, page, redirect, sign_in_path
from app.adapters.console.signed_in import Submission, submitted
from app.domain.errors import (
    DomainError,
    Forbidden,
    Malformed,
    NotFound,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from app.features.administrators import browser_sessions
from app.features.administrators.browser_sign_in import SignedIn
from app.features.administrators.claims import ClaimsMismatch, workload_account
from app.features.administrators.sign_in import sign_in
from app.features.identity_providers import queries as providers
from app.features.identity_providers.provider import Provider
from app.features.invitations.accept import accept_invitation, open_invitation
from app.features.invitations.schemas import PAGE as INVITED
from app.http.authorization import Caller, Permission
from app.http.rate_limits import client_address, source_of
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import IDENTITY_PROVIDER, IdentityProviderId, format_id

CALLBACK = "/login/callback"
SIGNED_OUT = "/signed-out"
_log = logging.getLogger(__name__)

router = APIRouter(include_in_schema=False, route_class=PageRoute)
# What no person reads.
told = APIRouter(include_in_schema=False, route_class=TransactionalRoute)


@router.get("/login", operation_id="start_browser_sign_in")
async def start_sign_in(
    request: Request,
    console: CurrentConsole,
    runtime: CurrentRuntime,
    asked: Annotated[str | None, Query(alias="next")] = None,
    provider: IdentityProviderId | None = None,
    account: Literal["another"] | None = None,
) -> Response:
    """Send the browser to its provider; where there are several, let the person choose."""
    console.check_safe()
    _count(request, console)
    target = safe_target(asked, HOME)
    async with runtime.sessions() as session:
        found = await providers.browser_providers(session)
    chosen = [one for one in found if provider in {None, one.id}]
    if not chosen:
        raise NotFound("No OpenID provider is set up here for people to sign in with a browser.")
    if len(chosen) > 1:
        return page(request, "choose.html", choices=_choices(chosen, target, account))
    browser = known_browser(console.cookies.browser(request)) or new_browser()
    callback = _callback_of(chosen[0])
    attempt = console.attempts.begin(browser, chosen[0].id, callback, target, runtime.clock().timestamp())
    address = await console.flow.start(chosen[0], attempt, another_account=account is not None)
    response = RedirectResponse(address, 302)
    console.cookies.set_browser(response, browser, LIFETIME)
    return response


@router.get(INVITED + "/{secret}", operation_id="open_invitation")
async def open_invited(
    request: Request, secret: str, console: CurrentConsole, runtime: CurrentRuntime, session: Session
) -> Response:
    """Remember the invitation in this browser, out of its address, and sign in at the provider that it names."""
    console.check_safe()
    _count(request, console)
    found = await open_invitation(session, runtime.peppers, secret)
    if found is None or found.status not in {"pending", "claimed"}:
        raise NotFound(
            "There is no such invitation, or it is over: ask the administrator who sent it for another one."
        )
    provider = format_id(IDENTITY_PROVIDER, found.row.provider_id)
    response = redirect(sign_in_path(MY_ACCESS, provider=provider))
    console.cookies.set_invitation(response, secret, LIFETIME)
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
    """Take what the provider says of who it is, and keep them signed in."""
    console.check_safe()
    _count(request, console)
    resumed = _resumed(request, console, runtime, state)
    if not code:
        raise Malformed("Your provider did not sign you in: begin again, or ask whoever looks after it.")
    signed_in = await _redeemed(request, console, runtime, resumed, code, iss)
    try:
        caller = await _admitted(request, console, runtime, signed_in)
    except Forbidden as refusal:
        return await _offer_another(request, console, runtime, resumed, signed_in, refusal)
    cookie = await browser_sessions.open_session(
        session, runtime.peppers, signed_in, caller, console.lifetimes, request.state.request_id
    )
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
async def sign_out(
    request: Request,
    console: CurrentConsole,
    session: Session,
    submission: Annotated[Submission, submitted(Permission.SELF_READ)],
) -> Response:
    """End the session here, and offer to end the one at the provider."""
    viewer = submission.viewer
    ended = await browser_sessions.end_session(
        session, viewer.caller, viewer.cookie, request.state.request_id
    )
    provider, onward = None, None
    if ended is not None:
        provider, id_token = ended
        onward = await console.flow.sign_out_address(provider, id_token, f"{console.public_url}{SIGNED_OUT}")
    response = page(request, "signed_out.html", onward=onward, provider=provider, sign_in="/login")
    console.cookies.end_session(response)
    return response


@router.get(SIGNED_OUT, operation_id="show_signed_out")
async def show_signed_out(
    request: Request, console: CurrentConsole, runtime: CurrentRuntime, state: str = ""
) -> Response:
    """Where a provider sends people whom it has signed out."""
    try:
        sign_in = sign_in_path(_resumed(request, console, runtime, state).target)
    except Malformed:
        # Nobody was on the way to anywhere, or it is too long ago.
        sign_in = "/login"
    return page(request, "signed_out.html", onward=None, provider=None, sign_in=sign_in)


@told.post("/logout/back-channel", operation_id="take_back_channel_logout")
async def take_back_channel_logout(request: Request, console: CurrentConsole, session: Session) -> Response:
    """A provider says that somebody is signed out (OpenID Connect Back-Channel Logout 1.0)."""
    try:
        fields = read_form(request, await request.body(), LARGEST)
        said = await console.flow.read_logout(fields.text("logout_token"), request.state.request_id)
    except Unavailable:
        raise
    except DomainError as error:
        return JSONResponse({"error": "invalid_request", "error_description": error.detail}, 400)
    await browser_sessions.end_at_provider(session, said)
    return Response(status_code=200)


def _callback_of(provider: Provider) -> str:
    """Where its answers come: at each provider another address, or one could have the answer of another sent to it as
    its own (RFC 9700 section 4.4). That of the environment's is known before it is registered here."""
    return CALLBACK if provider.environment else f"{CALLBACK}/{format_id(IDENTITY_PROVIDER, provider.id)}"


def _choices(found: list[Provider], target: str, account: str | None) -> list[tuple[str, str]]:
    """Providers by name, with where each is chosen."""
    more = {} if account is None else {"account": account}
    return [
        (one.name, sign_in_path(target, provider=format_id(IDENTITY_PROVIDER, one.id), **more))
        for one in found
    ]


def _resumed(request: Request, console: CurrentConsole, runtime: Runtime, state: str) -> Resumed:
    """What this browser began, whose answer comes to this address. Raises ``Malformed``."""
    browser = known_browser(console.cookies.browser(request))
    return console.attempts.resume(browser, request.url.path, state, runtime.clock().timestamp())


async def _offer_another(
    request: Request,
    console: CurrentConsole,
    runtime: Runtime,
    resumed: Resumed,
    signed_in: SignedIn,
    refusal: Forbidden,
) -> Response:
    """Why not, and the ways to come as somebody else, who goes on to where this person wanted to go."""
    provider, target, now = signed_in.provider, resumed.target, runtime.clock().timestamp()
    back = console.attempts.begin(resumed.browser, provider.id, SIGNED_OUT, target, now)
    onward = await console.flow.sign_out_address(provider, signed_in.id_token, back.redirect_uri, back.state)
    another = sign_in_path(target, account="another")
    response = error_page(
        request, refusal, "not_let_in.html", another=another, onward=onward, provider=provider
    )
    console.cookies.set_browser(response, resumed.browser, LIFETIME)
    return response


async def _redeemed(
    request: Request, console: CurrentConsole, runtime: Runtime, resumed: Resumed, code: str, iss: str | None
) -> SignedIn:
    """Who signed in. Kept with the request: one that lost against another is run again, and a code is good once.

    No connection to the database is held while the provider is asked.
    """
    kept: SignedIn | None = getattr(request.state, "signed_in", None)
    if kept is None:
        provider, now = await _provider(runtime, resumed)
        kept = request.state.signed_in = await console.flow.finish(
            provider, resumed.attempt, code=code, issuer=iss, now=now, request_id=request.state.request_id
        )
    return kept


async def _provider(runtime: Runtime, resumed: Resumed) -> tuple[Provider, float]:
    async with runtime.sessions() as session:
        found = await providers.browser_providers(session)
        now = await providers.database_now(session)
    for one in found:
        if one.id == resumed.provider_id:
            return one, now.timestamp()
    raise Malformed("Nobody signs in by this provider any more: begin again.")


async def _admitted(
    request: Request, console: CurrentConsole, runtime: Runtime, signed_in: SignedIn
) -> Caller:
    """The person. Raises ``Forbidden`` for whoever is not let in; the page never says which reason it was."""
    request_id = request.state.request_id
    try:
        if workload_account(signed_in.provider, signed_in.claims) is not None:
            # A program's claims: it has no browser, and whoever has one is not the program.
            raise _not_let_in()
        opened = console.cookies.invitation(request)
        await accept_invitation(runtime.sessions, runtime.peppers, signed_in, opened, request_id)
        caller = await sign_in(runtime.sessions, signed_in.provider, signed_in.claims, request_id)
    except ClaimsMismatch as nobody:
        _log.warning("request %s: a sign-in with a browser names nobody: %s", request_id, nobody.reason)
        raise _not_let_in() from None
    except Unauthenticated:
        raise _not_let_in() from None
    if caller.identity_id is None:
        raise _not_let_in()
    return caller


def _not_let_in() -> Forbidden:
    return Forbidden(
        "Your provider knows you, and this service does not let you in: nobody here is known by your sign-in, or their "
        "access has ended. Ask an administrator."
    )


def _count(request: Request, console: CurrentConsole) -> None:
    """So many sign-ins an address: each makes the service ask the provider."""
    source = source_of(client_address(request))
    standing = console.sign_ins.standing(source)
    if not console.sign_ins.take(source) and standing is not None:
        raise TooManyRequests("Too many sign-ins came from your address.", retry_after_s=standing.reset_s)


router.include_router(told)

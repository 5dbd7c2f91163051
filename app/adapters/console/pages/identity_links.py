"""The links of a person as a page: how providers know them, setting one, removing one."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import AsShown, Form, Problems, attempted, validated
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.people import IDENTITIES, called
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.features.identities import routes as identities
from app.features.identities import service
from app.features.identities.schemas import IdentityUpdate, IdentityView
from app.features.identity_providers import routes as identity_providers
from app.features.identity_providers.schemas import IdentityProviderQuery
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import IDENTITY, IDENTITY_PROVIDER, IdentityId, format_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)

# Who signs in as an identity has all that it was granted.
Granter = Annotated[Viewer, signed_in(Permission.GRANTS_WRITE)]
Granted = Annotated[Submission, submitted(Permission.GRANTS_WRITE)]
_MOST_PROVIDERS = 200


@router.get(IDENTITIES + "/{identity_id}/links", operation_id="page_identity_links")
async def show_links(
    request: Request, identity_id: IdentityId, viewer: Granter, session: Session, runtime: CurrentRuntime
) -> Response:
    """How providers know the person, and a form for one more."""
    return await _show(request, viewer, session, runtime, identity_id)


@router.post(IDENTITIES + "/{identity_id}/links", operation_id="page_set_identity_links")
async def set_links(
    request: Request, identity_id: IdentityId, sent: Granted, session: Session, runtime: CurrentRuntime
) -> Response:
    """Add the link that was typed, or remove the one whose button was pressed."""
    form = sent.form
    async with attempted(session) as attempt:
        it = await identities.get_identity(identity_id, session, Response())
        body = validated(IdentityUpdate, {"links": _wanted(it, form)})
        row = await service.lock_for_update(session, identity_id, body)
        AsShown.by(form).check(row.revision)
        await service.update_identity(
            session, sent.viewer.caller, row, body, runtime.clock, request.state.request_id
        )
    if attempt.problems:
        return await _show(request, sent.viewer, session, runtime, identity_id, form, attempt.problems)
    return redirect(f"{IDENTITIES}/{format_id(IDENTITY, identity_id)}?done=changed")


def _wanted(it: IdentityView, form: Form) -> list[dict[str, str]]:
    """The whole list, as the API takes it."""
    removed = form.text("remove")
    kept = [link.model_dump(mode="json") for number, link in enumerate(it.links) if str(number) != removed]
    if removed:
        return kept
    return [*kept, {name: form.text(name) for name in ("provider_id", "kind", "value")}]


async def _show(
    request: Request, viewer: Viewer, session: AsyncSession, runtime: Runtime, id: UUID,
    typed: Form | None = None, problems: Problems | None = None,
) -> Response:  # fmt: skip
    it = await identities.get_identity(id, session, Response())
    found = await identity_providers.list_identity_providers(
        IdentityProviderQuery(limit=_MOST_PROVIDERS), viewer.caller, session, runtime
    )
    problems = problems or Problems()
    return page(
        request, "identities/links.html", viewer=viewer, status=problems.status, problems=problems, it=it,
        who=called(it), typed=typed or Form(),
        providers=[(format_id(IDENTITY_PROVIDER, one.id), one.name) for one in found.items],
        names={one.id: one.name for one in found.items},
    )  # fmt: skip

"""People and agents as pages: the list, making one, and changing what is known of one."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import (
    AsShown,
    Form,
    Problems,
    attempted,
    first_page,
    next_page,
    read_query,
    validated,
)
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.people import IDENTITIES, PAGE_SIZE, called, search_person
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.domain.errors import Invalid, Malformed
from app.features.audit.names import names_of
from app.features.identities import routes as identities
from app.features.identities import service
from app.features.identities.schemas import IdentityCreate, IdentityQuery, IdentityUpdate, IdentityView
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import IDENTITY, IdentityId, format_id, parse_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Writer = Annotated[Viewer, signed_in(Permission.IDENTITIES_WRITE)]
Written = Annotated[Submission, submitted(Permission.IDENTITIES_WRITE)]
_DONE = {"erased": "The personal data is erased. The id stays, and what was done under it."}
_FIELDS = ("user_name", "display_name", "email", "external_id")


@router.get(IDENTITIES, operation_id="page_list_identities")
async def show_identities(
    request: Request,
    viewer: Annotated[Viewer, signed_in(Permission.IDENTITIES_READ)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """People and agents, newest first."""
    query = read_query(IdentityQuery, request, limit=PAGE_SIZE)
    found = await identities.list_identities(query, session, runtime)
    names = await names_of(session, [*(one.owner_id for one in found.items), *query.owner_id])
    return page(
        request, "identities/list.html", viewer=viewer, items=found.items, names=names, called=called, query=query,
        is_filtered=bool(query.q or query.kind or query.status or query.source or query.owner_id),
        more=next_page(request, found.next_cursor), first=first_page(request),
        done=_DONE.get(request.query_params.get("done", "")),
    )  # fmt: skip


@router.get(f"{IDENTITIES}/new", operation_id="page_new_identity")
async def show_new(request: Request, viewer: Writer, session: Session, runtime: CurrentRuntime) -> Response:
    """A form for a person, or for an agent once it is said who answers for it."""
    owner_id = _read_id(request.query_params.get("owner_id", ""))
    kind = "agent" if owner_id or request.query_params.get("kind") == "agent" else "person"
    return await _show_new(request, viewer, session, runtime, kind, owner_id)


@router.post(f"{IDENTITIES}/new", operation_id="page_create_identity")
async def create(request: Request, sent: Written, session: Session, runtime: CurrentRuntime) -> Response:
    """Make a person or an agent."""
    form, kind = sent.form, sent.form.text("kind")
    async with attempted(session) as attempt:
        values = _values_of(form) | {"kind": kind, "owner_id": form.text("owner_id") or None}
        body = validated(IdentityCreate, values | {"attributes": _attributes_of(form)})
        made = await service.create_identity(
            session, sent.viewer.caller, body, runtime.clock, request.state.request_id
        )
    if not attempt.problems:
        return redirect(f"{IDENTITIES}/{format_id(IDENTITY, made.id)}?done=made")
    owner_id = _read_id(form.text("owner_id"))
    return await _show_new(request, sent.viewer, session, runtime, kind, owner_id, form, attempt.problems)


@router.get(IDENTITIES + "/{identity_id}/edit", operation_id="page_edit_identity")
async def show_edit(
    request: Request, identity_id: IdentityId, viewer: Writer, session: Session, runtime: CurrentRuntime
) -> Response:
    """A form with what is known of somebody."""
    it = await identities.get_identity(identity_id, session, Response())
    return await _show_edit(request, viewer, session, runtime, it)


@router.post(IDENTITIES + "/{identity_id}/edit", operation_id="page_update_identity")
async def update(
    request: Request, identity_id: IdentityId, sent: Written, session: Session, runtime: CurrentRuntime
) -> Response:
    """Change what is known of somebody, as it was shown."""
    form = sent.form
    it = await identities.get_identity(identity_id, session, Response())
    async with attempted(session) as attempt:
        attributes = _attributes_of(form)
        gone: dict[str, str | None] = {name: None for name in it.attributes if name not in attributes}
        values = _values_of(form) | {"attributes": gone | attributes}
        owner_id = form.text("owner_id")
        body = validated(IdentityUpdate, values | ({"owner_id": owner_id} if owner_id else {}))
        row = await service.lock_for_update(session, identity_id, body)
        AsShown.by(form).check(row.revision)
        await service.update_identity(
            session, sent.viewer.caller, row, body, runtime.clock, request.state.request_id
        )
    if not attempt.problems:
        return redirect(f"{IDENTITIES}/{format_id(IDENTITY, identity_id)}?done=changed")
    return await _show_edit(request, sent.viewer, session, runtime, it, form, attempt.problems)


async def _show_new(
    request: Request, viewer: Viewer, session: AsyncSession, runtime: Runtime, kind: str, owner_id: UUID | None,
    typed: Form | None = None, problems: Problems | None = None,
) -> Response:  # fmt: skip
    problems = problems or Problems()
    owners = await names_of(session, [owner_id])
    return page(
        request, "identities/new.html", viewer=viewer, status=problems.status, problems=problems,
        typed=typed or Form(), kind=kind, owner_id=owner_id if owner_id in owners else None,
        owner=owners.get(owner_id) if owner_id else None,
        search=await search_person(request, session, runtime, "owner_id"),
    )  # fmt: skip


async def _show_edit(
    request: Request, viewer: Viewer, session: AsyncSession, runtime: Runtime, it: IdentityView,
    typed: Form | None = None, problems: Problems | None = None,
) -> Response:  # fmt: skip
    problems = problems or Problems()
    text = request.query_params.get("owner_id", "") if typed is None else typed.text("owner_id")
    owner_id = (_read_id(text) or it.owner_id) if it.kind == "agent" else None
    shown = {name: getattr(it, name) or "" for name in _FIELDS}
    shown["attributes"] = "\n".join(f"{name}={value}" for name, value in sorted(it.attributes.items()))
    values = shown if typed is None else {name: typed.raw(name) for name in shown}
    return page(
        request, "identities/edit.html", viewer=viewer, status=problems.status, problems=problems, it=it,
        who=called(it), values=values, revision=it.revision if typed is None else typed.text("revision"),
        owner_id=owner_id, owner=(await names_of(session, [owner_id])).get(owner_id) if owner_id else None,
        search=await search_person(request, session, runtime, "owner_id"),
    )  # fmt: skip


def _values_of(form: Form) -> dict[str, Any]:
    """The fields of a form by the names of the API; empty is none, but a name is never none."""
    return {name: form.text(name) or (None if name != "user_name" else "") for name in _FIELDS}


def _attributes_of(form: Form) -> dict[str, str]:
    """Attributes, one a line, as ``department=finance``. Raises ``Invalid`` for another line."""
    found: dict[str, str] = {}
    for line in form.raw("attributes").splitlines():
        name, separator, value = (part.strip() for part in line.partition("="))
        if not line.strip():
            continue
        if not separator or name in found:
            raise Invalid.field(
                "/attributes",
                "not_an_attribute",
                "Write one attribute a line, each once, as department=finance.",
            )
        found[name] = value
    return found


def _read_id(text: str) -> UUID | None:
    """The identity that an address or a hidden field names. Raises ``Malformed``."""
    try:
        return parse_id(IDENTITY, text) if text else None
    except ValueError:
        raise Malformed("The address names nobody that there could be: open the page anew.") from None

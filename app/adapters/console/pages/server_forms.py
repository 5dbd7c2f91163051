"""The forms that register and change a server."""

import re
import unicodedata
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import Form, Problems, attempt_change, validate
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.servers import (
    HTTP_KINDS,
    KINDS,
    LIST,
    Change,
    Writer,
    lock_shown,
    path_of,
    read_credential,
)
from app.adapters.console.viewer import Submission, Viewer
from app.db.engine import commit
from app.domain.errors import Invalid
from app.features.audit.names import names_of
from app.features.groups import service as groups
from app.features.groups.schemas import GroupQuery
from app.features.servers import service
from app.features.servers.credentials import put_credential
from app.features.servers.places import PlaceRules
from app.features.servers.schemas import ServerCreate, ServerPatch
from app.features.tools.requested_syncs import CurrentSyncs
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import ServerId
from app.models.servers import Server

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_MAX_SLUG_LENGTH = 63
_SUGGESTED = 100


@router.get(f"{LIST}/new", operation_id="page_new_server")
async def new(request: Request, viewer: Writer, session: Session, runtime: CurrentRuntime) -> Response:
    """Show the form that registers a server."""
    return await _form(request, session, runtime, viewer, _typed(Form()))


@router.post(f"{LIST}/new/register", operation_id="page_register_server")
async def register(
    submission: Change, session: Session, runtime: CurrentRuntime, syncs: CurrentSyncs, request: Request
) -> Response:
    """Register a server and sync its tools. If the sync fails, the server stays and its page shows the error."""
    async with attempt_change(session) as attempt:
        row = await _create(session, runtime, submission, request.state.request_id)
    if attempt.problems:
        typed = _typed(submission.form)
        return await _form(request, session, runtime, submission.viewer, typed, problems=attempt.problems)
    await commit(session)
    await syncs.sync(runtime, row.id, submission.viewer.caller, request.state.request_id)
    return redirect(f"{path_of(row.id)}?done=registered")


@router.get(f"{LIST}/{{server_id}}/edit", operation_id="page_edit_server")
async def edit(
    server_id: ServerId, request: Request, viewer: Writer, session: Session, runtime: CurrentRuntime
) -> Response:
    """Show the form that changes a server."""
    row = await service.require(session, server_id)
    return await _form(request, session, runtime, viewer, await _typed_of(session, row), server=row)


@router.post(f"{LIST}/{{server_id}}/edit/save", operation_id="page_save_server")
async def save(
    server_id: ServerId, submission: Change, session: Session, runtime: CurrentRuntime, request: Request
) -> Response:
    """Save the changed fields at the revision that was shown."""
    async with attempt_change(session) as attempt:
        row = await lock_shown(session, submission, server_id)
        patch = await _read_patch(session, runtime, submission, row)
        await service.update(
            session, _rules(runtime), row, patch, submission.viewer.caller, request.state.request_id
        )
    if attempt.problems:
        row = await service.require(session, server_id)
        typed = _typed(submission.form)
        return await _form(
            request, session, runtime, submission.viewer, typed, server=row, problems=attempt.problems
        )
    return redirect(f"{path_of(server_id)}?done=saved")


async def _create(
    session: AsyncSession, runtime: Runtime, submission: Submission, request_id: str | None
) -> Server:
    form, caller = submission.form, submission.viewer.caller
    created = validate(ServerCreate, await _read_create(session, runtime, submission))
    put = read_credential(form, created.env_names or []) if form.text("kind") else None
    row = await service.create(session, _rules(runtime), created, caller, request_id)
    if put is not None:
        await put_credential(
            session, runtime.sealer, runtime.outbound.policy, row, None, put, caller, request_id
        )
    return row


async def _read_create(session: AsyncSession, runtime: Runtime, submission: Submission) -> dict[str, Any]:
    form = submission.form
    transport = form.text("transport") or "streamable_http"
    name = form.text("name")
    return {
        "slug": form.text("slug") or slug_of(name),
        "name": name or None,
        "labels": _labels(form.raw("labels")),
        "transport": transport,
        **_place(form, transport),
        **await _settings(session, runtime, submission),
    }


async def _read_patch(
    session: AsyncSession, runtime: Runtime, submission: Submission, row: Server
) -> ServerPatch:
    """The fields that the form changed. Arguments and labels that lines of text cannot express stay as they are."""
    form = submission.form
    shown = await _typed_of(session, row)
    values = {"name": form.text("name"), **_place(form, row.transport)}
    if form.raw("labels") != shown["labels"]:
        labels = _labels(form.raw("labels"))
        values["labels"] = {**dict.fromkeys(row.labels), **labels}
    if form.raw("args") == shown["args"]:
        values.pop("args", None)
    settings = await _settings(session, runtime, submission, known_group=shown["owner_group"])
    return validate(ServerPatch, values | settings)


def _place(form: Form, transport: str) -> dict[str, Any]:
    if transport != "stdio":
        return {"url": form.text("url")}
    return {
        "command": form.text("command"),
        "args": _lines(form.raw("args")),
        "env_names": form.text("env_names").split(),
    }


async def _settings(
    session: AsyncSession, runtime: Runtime, submission: Submission, *, known_group: str = ""
) -> dict[str, Any]:
    form = submission.form
    settings: dict[str, Any] = {
        "description": form.raw("description").strip() or None,
        "new_tools": form.text("new_tools") or "quarantine",
        "keep_arguments": form.text("keep_arguments") or "approvals",
        "requestable": form.flag("requestable"),
    }
    group = form.text("owner_group")
    if group != known_group:
        found = await _group_id(session, runtime, submission.viewer, group) if group else None
        settings["owner_group_id"] = found
    return settings


async def _group_id(session: AsyncSession, runtime: Runtime, viewer: Viewer, name: str) -> Any:
    query = validate(GroupQuery, {"name": [name], "limit": 1})
    found, _ = await groups.list_groups(session, viewer.caller, query, runtime)
    if not found:
        raise Invalid.field("/owner_group_id", "unknown_group", "There is no group of this name.")
    return found[0].id


def slug_of(name: str) -> str:
    """Derive a slug from a server's name; it can be empty."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_MAX_SLUG_LENGTH].rstrip("-")


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


def _labels(text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    for line in _lines(text):
        key, separator, value = line.partition("=")
        if not separator or not key.strip() or key.strip() in labels:
            raise Invalid.field(
                "/labels", "odd_label", "Enter each label once, on a line of its own, as key=value."
            )
        labels[key.strip()] = value.strip()
    return labels


def _rules(runtime: Runtime) -> PlaceRules:
    return PlaceRules.of(runtime)


_FIELDS = (
    *(
        "name",
        "slug",
        "transport",
        "url",
        "command",
        "env_names",
        "owner_group",
        "new_tools",
        "keep_arguments",
        # A refused form stays based on the revision that its author saw.
        "revision",
    ),
    *("kind", "header_name", "token_url", "client_id", "auth_method", "scope", "resource", "audience"),
)
_AREAS = ("description", "labels", "args")


def _typed(form: Form) -> dict[str, Any]:
    """The typed fields, without secrets."""
    typed: dict[str, Any] = {name: form.text(name) for name in _FIELDS}
    typed |= {name: form.raw(name) for name in _AREAS}
    return typed | {
        "requestable": form.flag("requestable"),
        "transport": typed["transport"] or "streamable_http",
    }


async def _typed_of(session: AsyncSession, row: Server) -> dict[str, Any]:
    """The form's fields for an existing server."""
    named: dict[str, Any] = row.model_dump()
    names = await names_of(session, [row.owner_group_id])
    return _typed(Form()) | {
        **{name: named[name] or "" for name in ("name", "url", "command", "description")},
        **{name: named[name] for name in ("transport", "new_tools", "keep_arguments", "requestable")},
        "labels": "\n".join(f"{key}={value}" for key, value in sorted(row.labels.items())),
        "args": "\n".join(row.args or []),
        "env_names": " ".join(row.env_names or []),
        "owner_group": next(iter(names.values()), ""),
        "revision": str(row.revision),
    }


async def _form(
    request: Request,
    session: AsyncSession,
    runtime: Runtime,
    viewer: Viewer,
    typed: dict[str, Any],
    *,
    server: Server | None = None,
    problems: Problems | None = None,
) -> Response:
    query = GroupQuery(sort="name", limit=_SUGGESTED)
    suggested, _ = await groups.list_groups(session, viewer.caller, query, runtime)
    return page(
        request, "servers/form.html",
        viewer=viewer, status=problems.status if problems else 200, typed=typed, server=server, problems=problems,
        base=LIST if server is None else path_of(server.id), groups=[one.name for one in suggested],
        kinds=[(kind, KINDS[kind]) for kind in HTTP_KINDS if kind != "none"],
        runs_commands=bool(runtime.commands),
    )  # fmt: skip

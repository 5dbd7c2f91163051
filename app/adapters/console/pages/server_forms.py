"""The forms that register and change a server."""

import re
import unicodedata
from typing import Any

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, Submission
from app.adapters.console.forms import Form, validate
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.servers import (
    HTTP_KINDS,
    KINDS,
    LIST,
    Writer,
    Written,
    lock_shown,
    path_of,
    read_credential,
    store_credential,
)
from app.db.engine import commit
from app.domain.errors import Invalid
from app.features.groups import service as groups
from app.features.groups.schemas import GroupQuery
from app.features.servers import service
from app.features.servers.places import PlaceRules
from app.features.servers.schemas import ServerCreate, ServerPatch
from app.features.tools.requested_syncs import CurrentSyncs
from app.lib.ids import ServerId
from app.models.servers import Server

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_MAX_SLUG_LENGTH = 63
_SUGGESTED = 100


@router.get(f"{LIST}/new", operation_id="page_new_server")
async def new(context: Writer) -> Response:
    """Show the form that registers a server."""
    return await _form(context)


@router.post(f"{LIST}/new/register", operation_id="page_register_server")
async def register(sent: Written, syncs: CurrentSyncs) -> Response:
    """Register a server and sync its tools. If the sync fails, the server stays and its page shows the error."""
    async with sent.attempt():
        row = await _create(sent)
    if sent.problems:
        return await _form(sent)
    await commit(sent.session)
    await syncs.sync(sent.runtime, row.id, sent.caller, sent.request_id)
    return redirect(f"{path_of(row.id)}?done=registered")


@router.get(f"{LIST}/{{server_id}}/edit", operation_id="page_edit_server")
async def edit(context: Writer, server_id: ServerId) -> Response:
    """Show the form that changes a server."""
    row = await service.require(context.session, server_id)
    return await _form(context, row)


@router.post(f"{LIST}/{{server_id}}/edit/save", operation_id="page_save_server")
async def save(sent: Written, server_id: ServerId) -> Response:
    """Save the changed fields at the revision that was shown."""
    async with sent.attempt():
        row = await lock_shown(sent, server_id)
        patch = await _read_patch(sent, row)
        await service.update(sent.session, _rules(sent), row, patch, sent.caller, sent.request_id)
    if sent.problems:
        row = await service.require(sent.session, server_id)
        return await _form(sent, row)
    return redirect(f"{path_of(server_id)}?done=saved")


async def _create(sent: Submission) -> Server:
    form = sent.form
    created = validate(ServerCreate, await _read_create(sent))
    credential = read_credential(form, created.env_names or []) if form.text("kind") else None
    row = await service.create(sent.session, _rules(sent), created, sent.caller, sent.request_id)
    if credential is not None:
        await store_credential(sent, row, None, credential)
    return row


async def _read_create(sent: Submission) -> dict[str, Any]:
    form = sent.form
    transport = form.text("transport") or "streamable_http"
    name = form.text("name")
    return {
        "slug": form.text("slug") or slug_of(name),
        "name": name or None,
        "labels": _labels(form.raw("labels")),
        "transport": transport,
        **_place(form, transport),
        **await _settings(sent),
    }


async def _read_patch(sent: Submission, row: Server) -> ServerPatch:
    """The fields that the form changed. Arguments and labels that lines of text cannot express stay as they are."""
    form = sent.form
    shown = await _typed_of(sent, row)
    values = {"name": form.text("name"), **_place(form, row.transport)}
    if form.raw("labels") != shown["labels"]:
        labels = _labels(form.raw("labels"))
        values["labels"] = {**dict.fromkeys(row.labels), **labels}
    if form.raw("args") == shown["args"]:
        values.pop("args", None)
    settings = await _settings(sent, known_group=shown["owner_group"])
    return validate(ServerPatch, values | settings)


def _place(form: Form, transport: str) -> dict[str, Any]:
    if transport != "stdio":
        return {"url": form.text("url")}
    return {
        "command": form.text("command"),
        "args": _lines(form.raw("args")),
        "env_names": form.text("env_names").split(),
    }


async def _settings(sent: Submission, *, known_group: str = "") -> dict[str, Any]:
    form = sent.form
    settings: dict[str, Any] = {
        "description": form.raw("description").strip() or None,
        "new_tools": form.text("new_tools") or "quarantine",
        "keep_arguments": form.text("keep_arguments") or "approvals",
        "requestable": form.flag("requestable"),
    }
    group = form.text("owner_group")
    if group != known_group:
        found = await _group_id(sent, group) if group else None
        settings["owner_group_id"] = found
    return settings


async def _group_id(context: PageContext, name: str) -> Any:
    query = validate(GroupQuery, {"name": [name], "limit": 1})
    found, _ = await groups.list_groups(context.session, context.caller, query, context.runtime)
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


def _rules(context: PageContext) -> PlaceRules:
    return PlaceRules.of(context.runtime)


_FIELDS = (
    "name", "slug", "transport", "url", "command", "env_names", "owner_group", "new_tools", "keep_arguments",
    # A refused form stays based on the revision that its author saw.
    "revision",
    "kind", "header_name", "token_url", "client_id", "auth_method", "scope", "resource", "audience",
)  # fmt: skip
_AREAS = ("description", "labels", "args")


def _typed(form: Form) -> dict[str, Any]:
    """The typed fields, without secrets."""
    typed: dict[str, Any] = {name: form.text(name) for name in _FIELDS}
    typed |= {name: form.raw(name) for name in _AREAS}
    return typed | {
        "requestable": form.flag("requestable"),
        "transport": typed["transport"] or "streamable_http",
    }


async def _typed_of(context: PageContext, row: Server) -> dict[str, Any]:
    """The form's fields for an existing server."""
    named: dict[str, Any] = row.model_dump()
    names = await context.names([row.owner_group_id])
    return _typed(Form()) | {
        **{name: named[name] or "" for name in ("name", "url", "command", "description")},
        **{name: named[name] for name in ("transport", "new_tools", "keep_arguments", "requestable")},
        "labels": "\n".join(f"{key}={value}" for key, value in sorted(row.labels.items())),
        "args": "\n".join(row.args or []),
        "env_names": " ".join(row.env_names or []),
        "owner_group": next(iter(names.values()), ""),
        "revision": str(row.revision),
    }


async def _form(context: PageContext, server: Server | None = None) -> Response:
    """Show the form with what was typed, or else with the server."""
    typed = _typed(context.form)
    if server is not None and not context.form:
        typed = await _typed_of(context, server)
    query = GroupQuery(sort="name", limit=_SUGGESTED)
    suggested, _ = await groups.list_groups(context.session, context.caller, query, context.runtime)
    return context.page(
        "servers/form.html",
        typed=typed, server=server, base=LIST if server is None else path_of(server.id),
        groups=[one.name for one in suggested],
        kinds=[(kind, KINDS[kind]) for kind in HTTP_KINDS if kind != "none"],
        runs_commands=bool(context.runtime.commands),
    )  # fmt: skip

"""Access: the matrix of identities and servers, and the page that explains a decision."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field

from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.forms import Problems, validate
from app.adapters.console.page import PageRoute, with_query
from app.domain.errors import Conflict, Invalid, Malformed, NotFound
from app.features.access.explain import ExplainRequest, explain_decision
from app.features.access.reach import AccessMatrixCell, AccessMatrixQuery, count_access
from app.features.identities import service as identities
from app.features.identities.schemas import IdentityQuery, IdentityView
from app.features.servers import service as servers
from app.features.servers.schemas import ServerQuery
from app.http.authorization import Permission
from app.http.schemas import ShortText, Strict
from app.lib import strict_json
from app.lib.ids import IDENTITY, TOKEN, format_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)

MATRIX = "/console/access"
IDENTITIES_A_PAGE = 20
SERVERS_A_PAGE = 10
_FILTERS = ("q", "kind", "server_q", "cursor", "server_cursor")
EXPLAIN = "/console/explain"
_FIELDS = ("who", "server", "asks_for", "tool", "arguments", "at", "ip")
_ASKED = ("identity_id", "token_id", "event_id", "server", "tool", "part")
"""Query parameters that other pages link with. Arguments never appear in an address."""
_LIKELY = 8
# The form has one field for the identity and the token.
_FIELD_OF = {"/identity_id": "/who", "/token_id": "/who"}
CanExplain = Annotated[PageContext, may_open(Permission.ACCESS_EXPLAIN)]


class _Columns(Strict):
    """The query parameters that select servers."""

    server_q: ShortText | None = None
    server_cursor: str | None = Field(default=None, max_length=2000)


@router.get(MATRIX, operation_id="page_show_matrix")
async def show_matrix(context: Annotated[PageContext, may_open(Permission.ACCESS_EXPLAIN)]) -> Response:
    """Show a page of identities by a page of servers, both sorted by name."""
    rows = context.query(IdentityQuery, limit=IDENTITIES_A_PAGE, status=["active"], sort="user_name")
    asked = context.query(_Columns)
    columns = ServerQuery(
        q=asked.server_q, cursor=asked.server_cursor, limit=SERVERS_A_PAGE, status=["active"], sort="slug"
    )
    people = await identities.list_identities(context.session, rows, context.runtime)
    fleet = await servers.list_servers(context.session, context.caller, columns, context.runtime)
    cells: dict[UUID, dict[UUID, AccessMatrixCell]] = {}
    if people.items and fleet.items:
        wanted = AccessMatrixQuery(
            identity_id=[one.id for one in people.items], server_id=[one.id for one in fleet.items]
        )
        found = await count_access(context.session, context.snapshot, wanted)
        cells = {row.identity_id: {cell.server_id: cell for cell in row.cells} for row in found.items}
    return await context.page(
        "access/matrix.html", names={}, people=people.items, servers=fleet.items, cells=cells,
        query=rows, server_q=asked.server_q,
        more=_other_page(context, cursor=people.next_cursor),
        first=_other_page(context, cursor="") if rows.cursor else None,
        more_servers=_other_page(context, server_cursor=fleet.next_cursor),
        first_servers=_other_page(context, server_cursor="") if asked.server_cursor else None,
    )  # fmt: skip


def _other_page(context: PageContext, **changed: str | None) -> str | None:
    """This address with another cursor for one of the two lists; None if there is no such page."""
    if None in changed.values():
        return None
    kept = {name: context.param(name) for name in _FILTERS} | changed
    return with_query(MATRIX, {name: value for name, value in kept.items() if value})


@router.get(EXPLAIN, operation_id="page_explain")
async def show_form(context: CanExplain) -> Response:
    """Show the form, and the explanation of what the address asks."""
    asked = {name: context.param(name) for name in _ASKED if context.param(name)}
    typed = {
        "who": asked.get("identity_id") or asked.get("token_id") or "",
        "server": asked.get("server", ""),
        "tool": asked.get("tool", ""),
        "asks_for": asked.get("part") or ("server" if "server" in asked and "tool" not in asked else "tool"),
    }
    return await _answer(context, typed, asked if "server" in asked or "event_id" in asked else None)


@router.post(EXPLAIN, operation_id="page_explain_call")
async def explain_call(sent: Annotated[Submission, may_submit(Permission.ACCESS_EXPLAIN)]) -> Response:
    """Explain what the form asks. A POST only because arguments may not appear in an address."""
    form = sent.form
    typed = {name: form.raw(name) if name == "arguments" else form.text(name) for name in _FIELDS}
    typed["asks_for"] = typed["asks_for"] or "tool"
    # A candidate selected by its button.
    typed["who"] = form.text("chosen") or typed["who"]
    try:
        who, likely = await _who(sent, typed["who"])
        asked = who | dict(_question(typed))
    except Invalid as error:
        sent.problems = Problems(error)
        return await _answer(sent, typed)
    return await _answer(sent, typed, None if likely else asked, likely)


async def _answer(
    context: PageContext,
    typed: dict[str, str],
    asked: dict[str, Any] | None = None,
    likely: Sequence[IdentityView] = (),
) -> Response:
    """Show the form with the explanation of what is asked, if anything, or with the ``likely`` identities."""
    found, names = None, {}
    if asked is not None:
        try:
            body = validate(ExplainRequest, asked, _FIELD_OF)
            found = await explain_decision(
                context.session, context.caller, context.snapshot, body, context.runtime
            )
            names = await context.names(found, first=None)
        except (Invalid, Malformed, Conflict, NotFound) as error:
            context.problems = Problems(error)
    typed = dict.fromkeys(_FIELDS, "") | typed
    return await context.page("explain/page.html", typed=typed, it=found, names=names, likely=likely)


async def _who(context: PageContext, text: str) -> tuple[dict[str, str], list[IdentityView]]:
    """Resolve a text by id or exact user name; otherwise return the candidates. Raises ``Invalid``."""
    for prefix, name in ((IDENTITY, "identity_id"), (TOKEN, "token_id")):
        if text.startswith(f"{prefix}_"):
            return {name: text}, []
    if not text:
        raise Invalid.field("/who", "required", "Enter a name or the id of a token.")
    for fields in ({"user_name": [text]}, {"q": text}):
        query = validate(IdentityQuery, {**fields, "limit": _LIKELY})
        found = (await identities.list_identities(context.session, query, context.runtime)).items
        if len(found) == 1:
            return {"identity_id": format_id(IDENTITY, found[0].id)}, []
        if found:
            return {}, found
    raise Invalid.field("/who", "unknown", "No person or agent has this name.")


def _question(typed: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """The form's question as fields of the API. Raises ``Invalid``."""
    if not typed["server"]:
        raise Invalid.field("/server", "required", "Name the server.")
    yield "server", typed["server"]
    if typed["asks_for"] in ("resources", "prompts"):
        yield "part", typed["asks_for"]
    elif typed["asks_for"] == "tool":
        if not typed["tool"]:
            raise Invalid.field("/tool", "required", "Name the tool, or ask about the server only.")
        yield "tool", typed["tool"]
        if typed["arguments"].strip():
            yield "arguments", _arguments(typed["arguments"])
    if typed["at"]:
        # A browser's datetime field has no time zone.
        yield "at", typed["at"] if typed["at"].endswith("Z") else f"{typed['at']}Z"
    if typed["ip"]:
        yield "ip", typed["ip"]


def _arguments(text: str) -> Any:
    # Parsed as the gateway does, which refuses duplicate members and other ambiguities.
    try:
        return strict_json.loads(text.encode())
    except (strict_json.StrictJsonError, UnicodeEncodeError):
        raise Invalid.field(
            "/arguments", "invalid_json", 'Enter a JSON object, such as {"amount": 250}.'
        ) from None

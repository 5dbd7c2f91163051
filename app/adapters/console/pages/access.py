"""Access: the matrix of identities and servers, and the page that explains a decision."""

from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field

from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.forms import Problems, validate
from app.adapters.console.page import PageRoute
from app.adapters.console.pages.principals import IDENTITIES
from app.domain.errors import Conflict, Invalid, Malformed, NotFound
from app.features.access.explain import AccessExplanation, ExplainRequest, explain_decision
from app.features.access.reach import AccessMatrixCell, AccessMatrixQuery, count_access
from app.features.identities import service as identities
from app.features.identities.schemas import IdentityQuery, IdentityView
from app.features.servers import service as servers
from app.features.servers.schemas import ServerQuery
from app.http.authorization import Permission
from app.http.schemas import ShortText, Strict
from app.lib import strict_json
from app.lib.ids import IDENTITY, SERVER, TOKEN, format_id

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
_FAULTS = {
    "not_started": "it has not begun",
    "expired": "it has expired",
    "server_not_covered": "it is for other servers",
    "tool_not_covered": "it is for other tools",
    "resources_not_covered": "it leaves out resources",
    "prompts_not_covered": "it leaves out prompts",
}
_OUTCOMES = {
    "principal": "is about another principal",
    "action": "is about another action",
    "resource": "is about something else",
    "condition": "its condition is not met",
    "arguments_unknown": "reads arguments, which are not known, so it was skipped",
    "satisfied": "applies",
    "failed": "could not be evaluated",
}
_USED = {
    "given": "with the arguments that were given",
    "kept": "with the arguments of the call, which were kept",
    "not_kept": "without the arguments of the call, which were not kept",
    "not_permitted": "without the arguments of the call, which you may not read",
    "none": "without arguments",
}
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
    return context.page(
        "access/matrix.html", people=people.items, servers=fleet.items, cells=cells,
        query=rows, server_q=asked.server_q, href=_cell_href,
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
    asked = urlencode({name: value for name, value in kept.items() if value})
    return f"{MATRIX}?{asked}" if asked else MATRIX


def _cell_href(identity_id: UUID, server_id: UUID, slug: str, cell: AccessMatrixCell) -> str:
    """The page that explains a cell: its tools and grants, or why there are none."""
    whose = format_id(IDENTITY, identity_id)
    if not cell.reached:
        return f"/console/explain?{urlencode({'identity_id': whose, 'server': slug})}"
    return f"{IDENTITIES}/{whose}?{urlencode({'tab': 'access', 'server_id': format_id(SERVER, server_id)})}"


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
    if "server" not in asked and "event_id" not in asked:
        return await _answer(context, typed)
    return await _explained(context, asked, typed)


@router.post(EXPLAIN, operation_id="page_explain_call")
async def explain_call(sent: Annotated[Submission, may_submit(Permission.ACCESS_EXPLAIN)]) -> Response:
    """Explain what the form asks. A POST only because arguments may not appear in an address."""
    form = sent.form
    typed = {name: form.raw(name) if name == "arguments" else form.text(name) for name in _FIELDS}
    typed["asks_for"] = typed["asks_for"] or "tool"
    # A candidate selected by its button.
    typed["who"] = form.text("chosen") or typed["who"]
    likely: list[IdentityView] = []
    try:
        who, likely = await _who(sent, typed["who"])
        asked = who | dict(_question(typed))
    except Invalid as error:
        sent.problems = Problems(error)
        return await _answer(sent, typed)
    if likely:
        return await _answer(sent, typed, likely=likely)
    return await _explained(sent, asked, typed)


async def _explained(context: PageContext, asked: dict[str, Any], typed: dict[str, str]) -> Response:
    try:
        body = validate(ExplainRequest, asked, _FIELD_OF)
        found = await explain_decision(
            context.session, context.caller, context.snapshot, body, context.runtime
        )
    except (Invalid, Malformed, Conflict, NotFound) as error:
        context.problems = Problems(error)
        return await _answer(context, typed)
    return await _answer(context, typed, found=found)


async def _answer(
    context: PageContext,
    typed: dict[str, str],
    *,
    found: AccessExplanation | None = None,
    likely: list[IdentityView] | None = None,
) -> Response:
    names = {} if found is None else await context.names(_named(found))
    return context.page(
        "explain/page.html",
        typed=dict.fromkeys(_FIELDS, "") | typed,
        it=found,
        names=names,
        likely=likely or [],
        faults=_FAULTS,
        outcomes=_OUTCOMES,
        used=_USED,
    )


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


def _named(found: AccessExplanation) -> Iterator[UUID | None]:
    yield found.identity_id
    yield found.server_id
    for link in found.considered:
        yield link.token_id
        yield link.identity_id
        yield from (grant.group_id for grant in link.grants)

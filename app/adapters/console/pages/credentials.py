"""The upstream credentials of a server: which there are, and a form that sets one. None is ever shown."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import Form, Model, first_page, next_page, read_query, validated
from app.adapters.console.pages.server_words import Sight
from app.domain.errors import Invalid
from app.features.audit.names import names_of
from app.features.identities import routes as identities
from app.features.identities.schemas import IdentityQuery
from app.features.servers import routes as servers
from app.features.servers.credential_schemas import (
    BearerCredential,
    Credential,
    CredentialQuery,
    EnvCredential,
    HeaderCredential,
    NoCredential,
    OAuthClientCredential,
)
from app.http.runtime import Runtime

KINDS = {
    "bearer": "Bearer token",
    "header": "Header",
    "oauth_client_credentials": "OAuth client credentials",
    "env": "Environment variables",
    "none": "None: calls carry nothing",
}
OF_HTTP = ("bearer", "header", "oauth_client_credentials", "none")
OF_STDIO = ("env", "none")
_OPTIONAL = ("scope", "resource", "audience")
# The form has one field for what is secret, and in that of a server "name" is the server's.
_FIELD_OF = {"/name": "/header_name", "/token": "/secret", "/value": "/secret", "/client_secret": "/secret"}


def read_credential(form: Form, env_names: list[str]) -> Credential:
    """What was typed. Raises ``Invalid``, naming the fields of the form."""
    kind, secret = form.text("kind"), form.text("secret")
    if kind == "none":
        return NoCredential(kind="none")
    if kind == "bearer":
        return _read(BearerCredential, {"kind": kind, "token": secret})
    if kind == "header":
        return _read(HeaderCredential, {"kind": kind, "name": form.text("header_name"), "value": secret})
    if kind == "env":
        values = {name: form.raw(f"env.{name}") for name in env_names}
        return _read(EnvCredential, {"kind": kind, "variables": values})
    if kind == "oauth_client_credentials":
        typed = {name: form.text(name) for name in ("kind", "token_url", "client_id", "auth_method")}
        more = {name: form.text(name) for name in _OPTIONAL if form.text(name)}
        return _read(OAuthClientCredential, {**typed, "client_secret": secret, **more})
    raise Invalid.field("/kind", "required", "Choose what calls to the server carry.")


def _read(model: type[Model], typed: dict[str, Any]) -> Model:
    try:
        return validated(model, typed)
    except Invalid as invalid:
        errors = [replace(one, pointer=_FIELD_OF.get(one.pointer, one.pointer)) for one in invalid.errors]
        raise Invalid(invalid.detail, errors=errors) from None


async def find_holder(session: AsyncSession, runtime: Runtime, user_name: str) -> UUID | None:
    """The identity that a credential is for; None, without a name: everybody else. Raises ``Invalid``."""
    if not user_name:
        return None
    query = validated(IdentityQuery, {"user_name": [user_name], "limit": 1})
    found = (await identities.list_identities(query, session, runtime)).items
    if not found:
        raise Invalid.field("/identity", "unknown_identity", "There is no identity with this user name.")
    return found[0].id


async def shown_credentials(sight: Sight) -> dict[str, Any]:
    """What the page shows: the server's own, and those of identities."""
    query = read_query(CredentialQuery, sight.request, limit=25)
    found = await servers.list_server_credentials(sight.server.id, query, sight.session, sight.runtime)
    return {
        "credentials": found.items,
        "names": await names_of(sight.session, [one.identity_id for one in found.items]),
        "kinds": kinds_of(sight.server.transport), "words": KINDS, "problems": None, "typed": Form(),
        "more": next_page(sight.request, found.next_cursor), "first": first_page(sight.request),
    }  # fmt: skip


def kinds_of(transport: str) -> list[tuple[str, str]]:
    """What a server of this transport can be given, and words for it."""
    return [(kind, KINDS[kind]) for kind in (OF_STDIO if transport == "stdio" else OF_HTTP)]

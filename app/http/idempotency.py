"""``Idempotency-Key``: a request that creates may be repeated without creating twice.

The response is stored in the transaction of the change, so that neither exists without the other: a crash, an error or
a lost commit leaves the key free. While a request runs, an advisory lock of its transaction holds the key.

See ADR 8.
"""

import hashlib
import json
import re
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Annotated, Any, Self, get_args
from uuid import UUID

from fastapi import Header, Request, Response
from pydantic import BaseModel
from sqlalchemy import DateTime, LargeBinary, func, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col
from starlette.responses import JSONResponse

from app.db.change import Change
from app.db.engine import delete_rows
from app.domain.errors import Conflict, Invalid, KeyInFlight, Malformed
from app.http.requests import ReadRequest
from app.http.schemas import Strict

LIFETIME = timedelta(hours=24)
REPLAYED = "Idempotency-Replayed"

_KEY = re.compile(r"[!-~]{1,255}")
_CREATED = 201

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="A key of your choice, 1 to 255 visible ASCII characters. For 24 hours, the same request "
        "with the same key gets the first answer again, marked `Idempotency-Replayed: true`, and creates nothing.",
        examples=["5f0c2f6e-0d0b-4b62-9d0e-2f6a9f2b7c11"],
        json_schema_extra={"pattern": "^[!-~]{1,255}$"},
    ),
]


class StoredResponse(SQLModel, table=True):
    """The response to a request with a key, without secrets; deleted after ``LIFETIME``.

    Without a body, it identified an erased person; the key still prevents a repeated creation.
    """

    __tablename__ = "idempotency_keys"

    caller_id: UUID = Field(primary_key=True)
    route: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    request_digest: bytes = Field(sa_type=LargeBinary)
    status: int
    headers: dict[str, str] = Field(sa_type=JSONB)
    body: dict[str, Any] | None = Field(default=None, sa_type=JSONB(none_as_null=True))
    created_at: datetime = Field(
        default=None,
        sa_type=DateTime(timezone=True),
        index=True,
        sa_column_kwargs={"server_default": func.now()},
    )


class Revealed(Strict):
    """A response that shows a secret once; the stored response says that there was one."""

    secret_available: bool = Field(
        default=True,
        description="False when a repeat of the request gets this answer: the secret is not kept.",
    )

    def without_secret(self) -> Self:
        """The response without its secret, which is the field with the format ``password``, for storing."""
        return self.model_copy(update={**dict.fromkeys(_secrets(type(self))), "secret_available": False})


def _secrets(model: type[BaseModel]) -> list[str]:
    """The fields with the format ``password``."""
    extras = {name: field.json_schema_extra for name, field in model.model_fields.items()}
    return [
        name
        for name, extra in extras.items()
        if isinstance(extra, dict) and extra.get("format") == "password"
    ]


def check_stored(model: Any) -> None:
    """Raise ``TypeError`` for a response model that must not be stored: it has a secret and is not ``Revealed``."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return
    if issubclass(model, Revealed) != bool(_secrets(model)):
        raise TypeError(
            f"{model.__name__} has to be Revealed exactly if it has a field with the format password"
        )
    for field in model.model_fields.values():
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel) and _secrets(inner):
                raise TypeError(f"{model.__name__} has a secret in a part, which would be stored")


async def respond_once(
    run: Callable[[], Coroutine[Any, Any, BaseModel]], change: Change, request: Request, response: Response
) -> BaseModel | Response:
    """Run the endpoint of a request with a key, or repeat its stored response.

    The key is bound to the caller, the path and the request's content.
    """
    session = change.session
    place = {
        "caller_id": change.caller.id,
        "route": f"{request.method} {request.url.path}",
        "key": _key(request),
    }
    await _lock_key(session, place)
    digest = await _digest(request)
    # A separate statement after the lock, so that its snapshot contains the commit of the previous holder.
    query = select(StoredResponse).where(
        *(col(getattr(StoredResponse, name)) == value for name, value in place.items()),
        col(StoredResponse.created_at) > func.now() - LIFETIME,
    )
    kept: StoredResponse | None = await session.scalar(query)
    if kept is not None:
        return _replay(kept, digest)
    shown = await run()
    stored = shown.without_secret() if isinstance(shown, Revealed) else shown
    values = {
        "request_digest": digest,
        "status": _CREATED,
        "headers": dict(response.headers),
        "body": stored.model_dump(mode="json"),
        "created_at": func.now(),
    }
    # An expired one may still exist.
    await session.execute(
        insert(StoredResponse)
        .values(place | values)
        .on_conflict_do_update(index_elements=list(place), set_=values)
    )
    await session.execute(_DELETE_SOME_EXPIRED, {"age": LIFETIME})
    return shown


def _key(request: Request) -> str:
    """Read the key of a request. Raises ``Malformed``."""
    values = request.headers.getlist("idempotency-key")
    if len(values) != 1 or not _KEY.fullmatch(values[0]):
        raise Malformed(
            "Send one Idempotency-Key of 1 to 255 visible ASCII characters, a UUID for example.",
            code="idempotency_key_malformed",
        )
    return values[0]


async def _lock_key(session: AsyncSession, place: dict[str, Any]) -> None:
    """Hold a key until this transaction ends. Raises ``KeyInFlight`` if another transaction holds it."""
    name = "\0".join(str(part) for part in place.values())
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
    if not await session.scalar(select(func.pg_try_advisory_xact_lock(number))):
        raise KeyInFlight(
            "A request with this Idempotency-Key is still being answered: repeat yours shortly."
        )


async def _digest(request: Request) -> bytes:
    """Digest what identifies a request: the query, and the body as parsed JSON."""
    if isinstance(request, ReadRequest):
        body = json.dumps(request.value, sort_keys=True).encode()
    else:
        # The route reads no JSON.
        body = await request.body()
    return hashlib.sha256(request.url.query.encode() + b"\0" + body).digest()


def _replay(kept: StoredResponse, digest: bytes) -> Response:
    if kept.body is None:
        raise Conflict(
            "What this Idempotency-Key made belonged to an identity that was erased since.",
            code="identity_erased",
        )
    if kept.request_digest != digest:
        raise Invalid(
            "This Idempotency-Key came with another request before: take a new key for a new request.",
            code="idempotency_key_reused",
        )
    return JSONResponse(kept.body, kept.status, {**kept.headers, REPLAYED: "true"})


# A response shows an identity if it is the identity, its token, a grant to it, or an approval of it or its agent.
_ERASE = text(
    "UPDATE idempotency_keys SET body = NULL, request_digest = '' "
    "WHERE :id IN (body ->> 'id', body -> 'token' ->> 'identity_id', body -> 'principal' ->> 'id',"
    "body -> 'identity' ->> 'id', body -> 'owner' ->> 'id')"
)


async def erase_responses(session: AsyncSession, shown_id: str) -> None:
    """Empty every stored response that shows an identity, given by its id as in responses."""
    await session.execute(_ERASE, {"id": shown_id})


# A few with each new one, so that the table stays small even without `scopegate maintain`.
_DELETE_SOME_EXPIRED = text(
    "DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(SELECT ctid FROM idempotency_keys "
    "WHERE created_at < now() - CAST(:age AS interval) LIMIT 20 FOR UPDATE SKIP LOCKED))"
)


async def delete_expired_responses(owner_url: str) -> int:
    """Delete all expired responses; return their number. Raises ``DRIVER_FAULTS``."""
    statement = "DELETE FROM idempotency_keys WHERE created_at < now() - $1::interval"
    return await delete_rows(owner_url, statement, LIFETIME)

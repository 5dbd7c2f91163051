"""``/scheduled-offboardings`` and ``/offboarding-receipts``: offboardings to come, and proofs of what others ended."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field

from app.db.change import Change
from app.features.offboarding import schedule, schemas
from app.features.offboarding.receipts import find_receipt, list_receipts
from app.http.authorization import Permission, changes, requires
from app.http.etags import IfMatch
from app.http.pagination import Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime
from app.http.schemas import Strict
from app.http.transaction import Session, TransactionalRoute, api_router
from app.lib.ids import EventId, ScheduledOffboardingId

CanOffboard = Annotated[Change, changes(Permission.IDENTITIES_OFFBOARD)]
_READS = [requires(Permission.IDENTITIES_READ)]
_CHANGED = problem_responses(409)
scheduled_offboardings = api_router("scheduled-offboardings")


@scheduled_offboardings.get("", dependencies=_READS, summary="List scheduled offboardings, newest first")
async def list_scheduled_offboardings(
    query: Annotated[schemas.ScheduledOffboardingQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[schemas.ScheduledOffboardingView]:
    return await schedule.list_schedules(session, query, runtime)


@scheduled_offboardings.get(
    "/{scheduled_offboarding_id}", dependencies=_READS, summary="Read one scheduled offboarding"
)
async def get_scheduled_offboarding(
    scheduled_offboarding_id: ScheduledOffboardingId, session: Session
) -> schemas.ScheduledOffboardingView:
    row = await schedule.find_schedule(session, scheduled_offboarding_id)
    return schemas.ScheduledOffboardingView.from_row(row)


@scheduled_offboardings.delete(
    "/{scheduled_offboarding_id}", responses=_CHANGED, summary="Cancel a scheduled offboarding"
)
async def cancel_scheduled_offboarding(
    scheduled_offboarding_id: ScheduledOffboardingId, change: CanOffboard, if_match: IfMatch
) -> schemas.ScheduledOffboardingView:
    """Cancels it. A repeat changes nothing; one that has happened cannot be cancelled."""
    row = await schedule.cancel_schedule(change, scheduled_offboarding_id, if_match)
    return schemas.ScheduledOffboardingView.from_row(row)


receipts = APIRouter(tags=["offboarding-receipts"], route_class=TransactionalRoute)
_RECEIPTS = "/api/v1/offboarding-receipts"
_KEYS_MAX_AGE_S = 300


@receipts.get(_RECEIPTS, dependencies=_READS, summary="List the receipts of offboardings, newest first")
async def list_offboarding_receipts(
    query: Annotated[schemas.ReceiptQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[schemas.ReceiptView]:
    return await list_receipts(session, query, runtime)


@receipts.get(_RECEIPTS + "/{receipt_id}", dependencies=_READS, summary="Read the receipt of an offboarding")
async def get_offboarding_receipt(receipt_id: EventId, session: Session) -> schemas.ReceiptView:
    """The ended objects, also as a signed text to keep: it outlives an erasure."""
    return schemas.ReceiptView.from_row(await find_receipt(session, receipt_id))


class PublicKey(Strict):
    """The public half of a signing key (RFC 7517, RFC 8037)."""

    model_config = ConfigDict(title="JsonWebKey")
    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str = Field(description="The key.", examples=["11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"])
    kid: str = Field(description="Its id.", examples=["1f0c6ab2f1d0"])
    use: Literal["sig"]
    alg: Literal["EdDSA"]


class PublicKeys(Strict):
    """The keys that verify signed texts of this service, newest first."""

    model_config = ConfigDict(title="JsonWebKeySet")
    keys: list[PublicKey] = Field(description="One per configured signing key.")


@receipts.get("/.well-known/jwks.json", summary="The public signing keys")
async def get_public_keys(runtime: CurrentRuntime, response: Response) -> PublicKeys:
    """The public keys of all configured signing keys. Keep them with the receipts that you want to prove later."""
    response.headers["Cache-Control"] = f"public, max-age={_KEYS_MAX_AGE_S}"
    return PublicKeys(keys=[PublicKey.model_validate(key) for key in runtime.signer.public_keys()])


router = APIRouter()
for group in (scheduled_offboardings, receipts):
    router.include_router(group)

"""``/offboarding-receipts``, and the public keys to verify receipts."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field

from app.features.identities.receipts import find_receipt, select_receipts
from app.features.identities.schemas import ReceiptQuery, ReceiptView
from app.http.authorization import Permission, requires
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import COMMON_PROBLEMS
from app.http.runtime import CurrentRuntime
from app.http.schemas import Strict
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import EventId
from app.models.identities import OffboardingReceipt

router = APIRouter(tags=["offboarding-receipts"], route_class=TransactionalRoute)
_PREFIX = "/api/v1/offboarding-receipts"
_KEYS_MAX_AGE_S = 300


@router.get(
    _PREFIX,
    dependencies=[requires(Permission.IDENTITIES_READ)],
    operation_id="list_offboarding_receipts",
    responses=COMMON_PROBLEMS,
    summary="List the receipts of offboardings, newest first",
)
async def list_offboarding_receipts(
    query: Annotated[ReceiptQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[ReceiptView]:
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_offboarding_receipts", query.filters())
    rows, following = await read_page(session, select_receipts(query), OffboardingReceipt, cursors, query)
    return Page(items=[ReceiptView.from_row(row) for row in rows], next_cursor=following)


@router.get(
    _PREFIX + "/{receipt_id}",
    dependencies=[requires(Permission.IDENTITIES_READ)],
    operation_id="get_offboarding_receipt",
    responses=COMMON_PROBLEMS,
    summary="Read the receipt of an offboarding",
)
async def get_offboarding_receipt(receipt_id: EventId, session: Session) -> ReceiptView:
    """The ended objects, also as a signed text to keep: it outlives an erasure."""
    return ReceiptView.from_row(await find_receipt(session, receipt_id))


class PublicKey(Strict):
    """The public half of a signing key (RFC 7517, RFC 8037)."""

    model_config = ConfigDict(extra="forbid", title="JsonWebKey")

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str = Field(description="The key.", examples=["11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"])
    kid: str = Field(description="Its id.", examples=["1f0c6ab2f1d0"])
    use: Literal["sig"]
    alg: Literal["EdDSA"]


class PublicKeys(Strict):
    """The keys that verify signed texts of this service, newest first."""

    model_config = ConfigDict(extra="forbid", title="JsonWebKeySet")

    keys: list[PublicKey] = Field(description="One per configured signing key.")


@router.get("/.well-known/jwks.json", operation_id="get_public_keys", summary="The public signing keys")
async def get_public_keys(runtime: CurrentRuntime, response: Response) -> PublicKeys:
    """The public keys of all configured signing keys. Keep them with the receipts that you want to prove later."""
    response.headers["Cache-Control"] = f"public, max-age={_KEYS_MAX_AGE_S}"
    return PublicKeys(keys=[PublicKey.model_validate(key) for key in runtime.signer.public_keys()])

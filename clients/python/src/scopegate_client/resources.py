"""The resources that read better with a word more than the contract has for them."""

from datetime import datetime

from scopegate_client._call import Call
from scopegate_client._generated.api.identities import AsyncIdentitiesResource as _AsyncIdentitiesResource
from scopegate_client._generated.api.identities import IdentitiesResource as _IdentitiesResource
from scopegate_client._generated.api.identities import offboard_identity, offboard_identity_by_name
from scopegate_client._generated.models import OffboardReceipt
from scopegate_client._generated.types import UNSET, Unset
from scopegate_client.errors import InvalidArgument


class IdentitiesResource(_IdentitiesResource):
    """People and agents."""

    def offboard(
        self,
        identity_id: str | None = None,
        *,
        external_id: str | None = None,
        user_name: str | None = None,
        reason: str,
        transfer_agents_to: str | Unset | None = UNSET,
        effective_at: datetime | Unset | None = UNSET,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> OffboardReceipt:
        """End everything that an identity and its agents can do, in one transaction.

        A repeat answers the first receipt.

        Args:
            identity_id: Whom, by id; or by one of the next two.
            external_id: Whom, by the id that your HR or directory system knows.
            user_name: Whom, by user name.
            reason: Why; it is kept with the receipt.
            transfer_agents_to: An active person. Without one, the agents are suspended and their tokens end.
            effective_at: When it shall happen, at most a year ahead; at once without one. Nothing ends before:
                `scheduled` of the answer says what will.
            dry_run: Change nothing; answer what would change.
            if_match: The `revision` that you have seen: nothing is done if there is another by now.
        """
        return self._send(
            _offboard(
                identity_id,
                external_id,
                user_name,
                reason,
                transfer_agents_to,
                effective_at,
                dry_run=dry_run,
                if_match=if_match,
            )
        )


class AsyncIdentitiesResource(_AsyncIdentitiesResource):
    """People and agents."""

    async def offboard(
        self,
        identity_id: str | None = None,
        *,
        external_id: str | None = None,
        user_name: str | None = None,
        reason: str,
        transfer_agents_to: str | Unset | None = UNSET,
        effective_at: datetime | Unset | None = UNSET,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> OffboardReceipt:
        """End everything that an identity and its agents can do, in one transaction.

        A repeat answers the first receipt.

        Args:
            identity_id: Whom, by id; or by one of the next two.
            external_id: Whom, by the id that your HR or directory system knows.
            user_name: Whom, by user name.
            reason: Why; it is kept with the receipt.
            transfer_agents_to: An active person. Without one, the agents are suspended and their tokens end.
            effective_at: When it shall happen, at most a year ahead; at once without one. Nothing ends before:
                `scheduled` of the answer says what will.
            dry_run: Change nothing; answer what would change.
            if_match: The `revision` that you have seen: nothing is done if there is another by now.
        """
        return await self._send(
            _offboard(
                identity_id,
                external_id,
                user_name,
                reason,
                transfer_agents_to,
                effective_at,
                dry_run=dry_run,
                if_match=if_match,
            )
        )


def _offboard(
    identity_id: str | None,
    external_id: str | None,
    user_name: str | None,
    reason: str,
    transfer_agents_to: str | Unset | None,
    effective_at: datetime | Unset | None,
    *,
    dry_run: bool,
    if_match: int | str | None,
) -> Call[OffboardReceipt]:
    """The request, by whichever name the caller knows."""
    if sum(name is not None for name in (identity_id, external_id, user_name)) != 1:
        raise InvalidArgument(
            "Say whom to offboard: an id, or external_id=, or user_name=, and one of them only."
        )
    if identity_id is not None:
        return offboard_identity.call(
            identity_id,
            reason=reason,
            transfer_agents_to=transfer_agents_to,
            effective_at=effective_at,
            dry_run=dry_run,
            if_match=if_match,
        )
    return offboard_identity_by_name.call(
        external_id=external_id,
        user_name=user_name,
        reason=reason,
        transfer_agents_to=transfer_agents_to,
        effective_at=effective_at,
        dry_run=dry_run,
        if_match=if_match,
    )

"""Resources with handwritten methods."""

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
        """End all access of an identity and its agents, in one transaction.

        A repeated request returns the first receipt.

        Args:
            identity_id: The identity's id; or use one of the next two.
            external_id: The identity's id in your HR or directory system.
            user_name: The identity's user name.
            reason: The reason, which is stored in the receipt.
            transfer_agents_to: An active person. Without one, the agents are suspended and their tokens end.
            effective_at: A later time, at most a year ahead; default: immediately. Nothing ends before it: `scheduled`
                of the response shows what will.
            dry_run: Change nothing, and return what would change.
            if_match: The `revision` that you have read: nothing is changed if there is another one.
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
        """End all access of an identity and its agents, in one transaction.

        A repeated request returns the first receipt.

        Args:
            identity_id: The identity's id; or use one of the next two.
            external_id: The identity's id in your HR or directory system.
            user_name: The identity's user name.
            reason: The reason, which is stored in the receipt.
            transfer_agents_to: An active person. Without one, the agents are suspended and their tokens end.
            effective_at: A later time, at most a year ahead; default: immediately. Nothing ends before it: `scheduled`
                of the response shows what will.
            dry_run: Change nothing, and return what would change.
            if_match: The `revision` that you have read: nothing is changed if there is another one.
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
    """Build the request, with any of the names of the identity."""
    if sum(name is not None for name in (identity_id, external_id, user_name)) != 1:
        raise InvalidArgument("Specify one of an id, external_id= and user_name=.")
    if identity_id is not None:
        return offboard_identity.call(
            identity_id,
            {"reason": reason, "transfer_agents_to": transfer_agents_to, "effective_at": effective_at},
            dry_run=dry_run,
            if_match=if_match,
        )
    return offboard_identity_by_name.call(
        {"reason": reason, "transfer_agents_to": transfer_agents_to, "effective_at": effective_at},
        external_id=external_id,
        user_name=user_name,
        dry_run=dry_run,
        if_match=if_match,
    )

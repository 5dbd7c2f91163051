"""Sign in with an access token of an OpenID provider, whose signature and times are already verified.

Every request checks the database, so an offboarded, suspended or disabled person is refused at once, regardless of the
content and lifetime of their token. A sign-in is recorded in a transaction of its own, which stays when the request
fails.
"""

from collections.abc import Mapping
from typing import Any
from uuid import uuid5

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.db.engine import commit
from app.features.administrators.admit import caller_of, record_sign_in
from app.features.administrators.claims import Holder, read_holder, workload_account
from app.features.administrators.queries import LinkHolder, find_link_holder
from app.features.administrators.workloads import sign_workload_in
from app.features.identity_providers.provider import Provider
from app.features.service_accounts.authenticate import unauthenticated
from app.http.authorization import Caller


async def sign_in(
    sessions: async_sessionmaker[AsyncSession],
    provider: Provider,
    claims: Mapping[str, Any],
    request_id: str | None,
) -> Caller:
    """The caller that verified claims name. Only reads, unless something changed since the last sign-in.

    A token that was issued before the last one that signed in does not change the record: otherwise two tokens with
    different claims would overwrite it in turns. Its roles are those in its claims.

    Raises ``Unauthenticated`` for a holder who may not sign in, for any reason.
    """
    account_id = workload_account(provider, claims)
    async with sessions() as session:
        if account_id is not None:
            return await sign_workload_in(session, provider, account_id, claims, request_id)
        holder = read_holder(provider, claims)
        link_holder = await find_link_holder(session, provider.id, holder.link)
        if link_holder is None or not link_holder.can_sign_in or link_holder.was_revoked(holder.issued_at):
            raise unauthenticated()
        if link_holder.identity_id is None and not holder.may_join:
            # Known only to the provider. Every request is then refused with the name of the permission.
            return Caller("stranger", uuid5(provider.id, holder.link), frozenset())
        if link_holder.identity_id is not None and _is_up_to_date(link_holder, holder):
            return caller_of(holder, link_holder.identity_id, link_holder.administrator_id)
        caller = await record_sign_in(session, provider, holder, claims, request_id)
        await commit(session)
        return caller


def _is_up_to_date(link_holder: LinkHolder, holder: Holder) -> bool:
    if link_holder.administrator_id is None:
        return not holder.roles
    return link_holder.last_sign_in_at is not None and link_holder.last_sign_in_at >= holder.issued_at

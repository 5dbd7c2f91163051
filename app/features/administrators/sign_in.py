"""Signing in with the access token of an OpenID provider, whose signature and times were verified before.

Everything is asked of the database at every request, so whoever was offboarded, suspended or disabled is out at
once, whatever their token says and however long it lasts. What a sign-in writes is a transaction of its own: it stays
when the request fails.
"""

from collections.abc import Mapping
from typing import Any
from uuid import uuid5

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.db.engine import commit
from app.features.administrators.admit import bring_up_to_date, caller_of
from app.features.administrators.claims import Holder, read_holder, workload_account
from app.features.administrators.queries import Known, find_known
from app.features.administrators.workloads import sign_workload_in
from app.features.identity_providers.provider import Provider
from app.features.service_accounts.authenticate import refused
from app.http.authorization import Caller


async def sign_in(
    sessions: async_sessionmaker[AsyncSession],
    provider: Provider,
    claims: Mapping[str, Any],
    request_id: str | None,
) -> Caller:
    """The caller whom verified claims name. Reads only, unless something changed since the last sign-in.

    A token that was issued before the last one that signed in leaves the record alone: two tokens with other
    claims would otherwise rewrite it in turns. Its roles are those that it carries.

    Raises ``Unauthenticated`` for whoever may not sign in, whichever the reason.
    """
    account_id = workload_account(provider, claims)
    async with sessions() as session:
        if account_id is not None:
            return await sign_workload_in(session, provider, account_id, claims, request_id)
        holder = read_holder(provider, claims)
        known = await find_known(session, provider.id, holder.link)
        if known is None or not known.may_enter or known.was_taken_back(holder.issued_at):
            raise refused()
        if known.identity_id is None and not holder.may_join:
            # Known to the provider alone. Whatever is asked for is then refused with the permission's name.
            return Caller("stranger", uuid5(provider.id, holder.link), frozenset())
        if known.identity_id is not None and _is_up_to_date(known, holder):
            return caller_of(holder, known.identity_id, known.administrator_id)
        caller = await bring_up_to_date(session, provider, holder, claims, request_id)
        await commit(session)
        return caller


def _is_up_to_date(known: Known, holder: Holder) -> bool:
    if known.administrator_id is None:
        return not holder.roles
    return known.last_sign_in_at is not None and known.last_sign_in_at >= holder.issued_at

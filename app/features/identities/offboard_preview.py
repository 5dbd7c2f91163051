"""What an offboarding would end beside tokens and agents, told by its dry run."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from app.features.audit.counting import count_calls
from app.features.identities.affected import Affected
from app.features.identities.offboard_schemas import MOST_CALLS, OffboardPreview

_OF_LATE = timedelta(days=1)


async def preview_of(session: AsyncSession, affected: Affected) -> OffboardPreview:
    """What would end, once it is gathered, and how much it was used."""
    return OffboardPreview(
        grants=affected.grants,
        groups=list(affected.memberships.values()),
        service_accounts=affected.service_accounts,
        calls_last_day=await count_calls(session, affected.ending, _OF_LATE, MOST_CALLS),
    )

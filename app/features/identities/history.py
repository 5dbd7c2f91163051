"""What the history keeps of an identity: all that a decision reads of it, and nothing that names anybody."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.features.audit.record import keep_version
from app.models.identities import Identity

KIND = "identity"
"""Of the versions in ``object_versions``."""
DECISIVE = frozenset({"kind", "status", "owner_id", "attributes"})


async def keep_identity(session: AsyncSession, identity: Identity) -> None:
    """Write down how a locked identity is from now on."""
    content = {name: getattr(identity, name) for name in sorted(DECISIVE)}
    await keep_version(session, KIND, identity.id, content)

"""``scopegate keys``: what each key protects, and sealing everything with the newest one. Keys are never shown."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import typer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.cli.database import at_database
from app.crypto.keys import Peppers, Sealer, key_ring
from app.crypto.signed_notes import NoteSigner, log_name
from app.db.call_arguments import reseal_arguments
from app.features.audit_sinks.service import reseal_credentials
from app.features.identity_providers.signals.streams import reseal_access
from app.features.servers.credentials import reseal
from app.features.webhooks.service import reseal_secrets
from app.settings import Settings

ENCRYPTION, PEPPER = "SCOPEGATE_ENCRYPTION_KEY", "SCOPEGATE_TOKEN_PEPPER"
SIGNING = "SCOPEGATE_SIGNING_KEY"

ARGUMENTS = "arguments of calls"

_BY_KEY = "SELECT key_id, count(*) FROM {} WHERE key_id IS NOT NULL GROUP BY key_id"
# Of digests, only those of valid secrets count.
_TOKENS = """
SELECT s.pepper_key_id, count(*) FROM token_secrets s JOIN tokens t ON t.id = s.token_id
WHERE t.revoked_at IS NULL AND t.expires_at > now() AND (s.expires_at IS NULL OR s.expires_at > now())
GROUP BY s.pepper_key_id
"""
_ACCOUNTS = """
SELECT c.pepper_key_id, count(*) FROM service_account_credentials c
JOIN service_accounts a ON a.id = c.service_account_id
WHERE c.revoked_at IS NULL AND a.ended_at IS NULL GROUP BY c.pepper_key_id
"""
_SIGN_INS = """
SELECT pepper_key_id, count(*) FROM (
    SELECT pepper_key_id, expires_at FROM api_bearers
    UNION ALL SELECT pepper_key_id, expires_at FROM break_glass_sessions
    UNION ALL SELECT pepper_key_id, expires_at FROM browser_sessions
) AS s WHERE expires_at > now() GROUP BY pepper_key_id
"""

_RESTS_ON = {
    ENCRYPTION: {
        "upstream credentials": _BY_KEY.format("server_credentials"),
        "signing secrets of webhooks": _BY_KEY.format("webhook_secrets"),
        "access tokens of signal streams": _BY_KEY.format("signal_streams"),
        "credentials of audit sinks": _BY_KEY.format("audit_sinks"),
        ARGUMENTS: _BY_KEY.format("audit_arguments"),
    },
    PEPPER: {"secrets of tokens": _TOKENS, "secrets of service accounts": _ACCOUNTS, "sign-ins": _SIGN_INS},
    SIGNING: {"receipts of offboardings": _BY_KEY.format("offboarding_receipts")},
}
CHECKPOINTS = "checkpoints of the log"
# A note names its key by four bytes before the signature; this many characters of base64 contain only those bytes.
_MARK = 5
_CHECKPOINTS = r"""
SELECT split_part(note, E'\n', 1) AS name, left(split_part(split_part(note, E'\n\n', 2), ' ', 3), :mark) AS mark,
    count(*)
FROM audit_checkpoints GROUP BY 1, 2
"""
_ADVICE_ON_SIGNED = (
    "Signatures of {key} are verified with its public half: keep that (/.well-known/jwks.json, scopegate audit keys) "
    "before you remove the key from {setting}."
)
_ROLES = {ENCRYPTION: ("seals", "opens"), PEPPER: ("makes", "checks"), SIGNING: ("signs", "checks")}


@dataclass(slots=True)
class KeyStanding:
    """A key of a list: its position (``None``: not configured), and what it protects."""

    setting: str
    id: str
    place: int | None
    rests: dict[str, int] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The line of ``keys list``."""
        makes, reads = _ROLES[self.setting]
        role = "MISSING" if self.place is None else makes if self.place == 0 else reads
        rests = ", ".join(f"{count} {what}" for what, count in self.rests.items()) or "nothing"
        return f"{self.setting}  {self.id}  {role:<7}  {rests}"

    @property
    def advice(self) -> str | None:
        """The next step."""
        if self.setting == SIGNING and self.rests and self.place != 0:
            return _ADVICE_ON_SIGNED.format(key=self.id, setting=SIGNING)
        if self.place is None:
            return f"What {self.id} protects is lost until that key is in {self.setting} again."
        if self.place == 0:
            return None
        if not self.rests:
            return f"{self.id} protects nothing any more: you can remove it from {self.setting}."
        if self.setting != ENCRYPTION:
            return f"Secrets leave {self.id} when they are rotated, revoked or expire."
        if self.rests.keys() == {ARGUMENTS}:
            return (
                f"Arguments of calls leave {self.id} with their retention, or when scopegate keys rotate is given "
                "SCOPEGATE_MIGRATION_DATABASE_URL."
            )
        return f"scopegate keys rotate seals what {self.id} protects with the newest key."


def list_keys(settings: Settings) -> list[str]:
    """The lines of ``keys list``. Raises ``DatabaseFault``."""
    keys = standing(settings)
    return [*(key.line for key in keys), *(key.advice for key in keys if key.advice)]


def standing(settings: Settings) -> list[KeyStanding]:
    """Count what each key protects: newest first in each list, followed by missing ones. Raises ``DatabaseFault``."""
    return at_database(settings, partial(_standing, settings))


def rotate(settings: Settings) -> Iterator[str]:
    """Seal everything with the newest key; yield what was done and the next steps. Raises ``Exit`` after them if
    something could not be opened."""

    sealer = Sealer(settings.keys("encryption_key"))

    async def run(sessions: async_sessionmaker[AsyncSession]) -> tuple[int, int, list[KeyStanding]]:
        jobs = (reseal, reseal_secrets, reseal_access, reseal_credentials)
        done = [arguments, *[await job(sessions, sealer) for job in jobs]]
        resealed, unopened = (sum(counts) for counts in zip(*done, strict=True))
        return resealed, unopened, await _standing(settings, sessions)

    as_owner = settings.migration_database_url
    arguments = at_database(settings, lambda sessions: reseal_arguments(sessions, sealer), as_owner)
    resealed, unopened, after = at_database(settings, run)
    yield f"Sealed again: {resealed}"
    yield from (key.advice for key in after if key.advice)
    if unopened:
        typer.echo(f"Not opened by any configured key, and left as they are: {unopened}", err=True)
        raise typer.Exit(1)


async def _standing(settings: Settings, sessions: async_sessionmaker[AsyncSession]) -> list[KeyStanding]:
    configured = {
        ENCRYPTION: Sealer(settings.keys("encryption_key")).ids,
        PEPPER: Peppers(settings.keys("token_pepper")).ids,
        SIGNING: tuple(key_ring(settings.keys("signing_key"))),
    }
    standings: list[KeyStanding] = []
    async with sessions() as session:
        for setting, ids in configured.items():
            keys = {id: KeyStanding(setting, id, place) for place, id in enumerate(ids)}
            for what, query in _RESTS_ON[setting].items():
                for id, count in await session.execute(text(query)):
                    keys.setdefault(id, KeyStanding(setting, id, None)).rests[what] = count
            if setting == SIGNING:
                await _count_checkpoints(session, settings, [keys[id] for id in ids])
            standings += keys.values()
    return standings


async def _count_checkpoints(session: AsyncSession, settings: Settings, keys: list[KeyStanding]) -> None:
    """Add the number of checkpoints that each signing key signed. Checkpoints of other keys are not attributed."""
    signer = NoteSigner(settings.keys("signing_key"), log_name(settings.base_url))
    for name, mark, count in await session.execute(text(_CHECKPOINTS), {"mark": _MARK}):
        for key, public in zip(keys, signer.verifier_keys(name), strict=True):
            if b64encode(public.id).decode()[:_MARK] == mark:
                key.rests[CHECKPOINTS] = key.rests.get(CHECKPOINTS, 0) + count

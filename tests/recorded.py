"""Triggers of the test database: what the service changes is recorded, in the same transaction.

At its commit, every row that the service inserted, changed or deleted has to have an audit event, and a version in the
history where a column changed that versions hold. A row changes where its ``revision`` moves: bookkeeping leaves it.
What expires is not written at all, and an erasure rewrites the history instead of adding to it. Tests write rows with
connections of another name, of which nothing is demanded: such a row has no history that could go on.
"""

from dataclasses import dataclass

import asyncpg

from app.db.change import Subject
from app.features.administrators.sign_in import ADMINISTRATOR, ROLE_ASSIGNMENT
from app.features.approvals.service import APPROVAL
from app.features.grants.service import GRANT
from app.features.groups.queries import MEMBERSHIP
from app.features.identities.service import IDENTITY
from app.features.policies.service import POLICY
from app.features.servers.service import SERVER
from app.features.service_accounts.service import ACCOUNT
from app.features.tokens.service import TOKEN
from app.features.tools.service import TOOL

SERVICE = "scopegate-api"
"""``application_name`` of the connections that serve the API and the console."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is demanded of the rows of a table."""

    table: str
    also: tuple[str, ...] = ()
    """Types of objects whose events tell of such a row too, besides an event of the row itself."""
    kept: tuple[str, ...] = ()
    """Columns that versions hold; none for a table without a history."""
    bookkeeping: tuple[str, ...] = ()
    """Columns that can change without an event, although the revision changes with them."""

    @classmethod
    def by(
        cls, subject: Subject, table: str, also: tuple[str, ...] = (), bookkeeping: tuple[str, ...] = ()
    ) -> "Recorded":
        """What a ``Subject`` says of its table."""
        return cls(table, also, subject.kept, bookkeeping)


# The tables of a feature are listed here once its service records with ``Change``, or keeps to the rule as it is.
RECORDED = (
    Recorded.by(ADMINISTRATOR, "administrators", also=("identity",)),
    Recorded.by(APPROVAL, "approvals", also=("approval", "identity")),
    Recorded("audit_sinks"),
    Recorded.by(GRANT, "grants", also=("group", "identity")),
    Recorded.by(MEMBERSHIP, "group_members", also=("group", "identity")),
    Recorded("groups"),
    # A new encryption key reseals them.
    Recorded("server_credentials", also=("server", "identity"), bookkeeping=("key_id", "sealed")),
    Recorded.by(
        SERVER,
        "servers",
        also=("tool",),
        # A sync that the system ran and that found nothing new.
        bookkeeping=(
            "revision",
            "updated_at",
            "sync_state",
            "sync_error",
            "sync_at",
            "sync_started_at",
            "sync_due_at",
            "sync_failures",
        ),
    ),
    Recorded.by(TOOL, "tools", also=("server",)),
    Recorded.by(IDENTITY, "identities"),
    Recorded("identity_links", also=("identity",)),
    Recorded("identity_providers", kept=("name", "issuer", "status", "source", "settings")),
    Recorded("invitations", also=("identity", "identity_provider", "invitation")),
    Recorded("offboarding_receipts", also=("identity",)),
    Recorded.by(ROLE_ASSIGNMENT, "role_assignments", also=("administrator",)),
    Recorded("scheduled_offboardings", also=("identity",)),
    Recorded("service_account_credentials", also=("service_account",)),
    Recorded.by(ACCOUNT, "service_accounts", also=("identity",)),
    # The events of a stream are events of its provider.
    Recorded("signal_streams", also=("identity_provider",)),
    Recorded("token_pickups", also=("token", "identity")),
    Recorded.by(TOKEN, "tokens", also=("token", "identity")),
    # Drafts have no history, and decisions read only published versions.
    Recorded.by(POLICY, "policies"),
    Recorded("webhooks"),
)
_DEMAND = """
CREATE FUNCTION test_demand_record() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    after jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    row_id uuid := coalesce(after, before) ->> 'id';
    also text[] := TG_ARGV[0];
    kept text[] := TG_ARGV[1];
    bookkeeping text[] := TG_ARGV[3];
    current bigint := pg_current_xact_id()::text::bigint;
BEGIN
    IF current_setting('application_name') <> TG_ARGV[2]
        OR (TG_OP = 'UPDATE' AND before ? 'revision' AND before -> 'revision' = after -> 'revision')
        OR (TG_OP = 'UPDATE' AND bookkeeping <> '{}' AND before - bookkeeping = after - bookkeeping)
        -- The schedule of an identity that is already offboarded is completed without an event.
        OR (TG_TABLE_NAME = 'scheduled_offboardings' AND after ->> 'status' = 'completed') THEN
        RETURN NULL;
    END IF;
    IF NOT EXISTS (
        SELECT FROM audit_events WHERE xact = current AND (object_id = row_id OR object_type = ANY (also))
    ) THEN
        RAISE EXCEPTION '% of % % without an audit event', TG_OP, TG_TABLE_NAME, row_id USING ERRCODE = 'SG001';
    END IF;
    IF EXISTS (
        SELECT FROM unnest(kept || '{ended_at}'::text[]) AS k (name)
        WHERE kept <> '{}' AND (before -> k.name) IS DISTINCT FROM (after -> k.name)
    ) AND NOT EXISTS (
        SELECT FROM object_versions WHERE object_id = row_id AND now() IN (valid_from, valid_to)
    ) AND (
        TG_OP = 'INSERT' OR EXISTS (SELECT FROM object_versions WHERE object_id = row_id)
    ) AND NOT EXISTS (
        SELECT FROM audit_events WHERE xact = current AND action = 'identity.erase'
    ) THEN
        RAISE EXCEPTION '% of % % without a version', TG_OP, TG_TABLE_NAME, row_id USING ERRCODE = 'SG002';
    END IF;
    RETURN NULL;
END
$$
"""


async def demand_records(url: str) -> None:
    """Add the triggers to a migrated database."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_DEMAND)
        for one in RECORDED:
            also, kept, bookkeeping = (
                "{" + ",".join(names) + "}" for names in (one.also, one.kept, one.bookkeeping)
            )
            await connection.execute(
                f"CREATE CONSTRAINT TRIGGER test_recorded AFTER INSERT OR UPDATE OR DELETE ON {one.table} "
                "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
                f"EXECUTE FUNCTION test_demand_record('{also}', '{kept}', '{SERVICE}', '{bookkeeping}')"
            )
    finally:
        await connection.close()

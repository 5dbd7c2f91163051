"""Create the first tables: the domain, the partitioned audit log, and the versions that admission compares.

Revision ID: 0001
Revises:
"""

# Long lines are the statements as the database shows them.
# ruff: noqa: E501

from alembic import op

revision = "0001"
down_revision = None

BEFORE = """
CREATE SEQUENCE audit_events_seq;

CREATE TABLE log_epochs (
    epoch INTEGER NOT NULL,
    system_identifier BIGINT NOT NULL,
    timeline INTEGER NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    last_checkpoint VARCHAR,
    CONSTRAINT pk_log_epochs PRIMARY KEY (epoch),
    CONSTRAINT uq_log_epochs_system_identifier_timeline UNIQUE (system_identifier, timeline)
);

-- The epoch of this very system and timeline, or NULL when none is open: then nothing can be recorded.
-- The timeline comes from the position in the log itself, since the control file lags after a promotion.
CREATE FUNCTION scopegate_epoch() RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT epoch FROM log_epochs
    WHERE system_identifier = (SELECT system_identifier FROM pg_control_system())
      AND timeline = ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int
$$;

INSERT INTO log_epochs (epoch, system_identifier, timeline)
SELECT 1, (SELECT system_identifier FROM pg_control_system()),
       ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int;
"""

TABLES = """
CREATE TABLE access_versions (
    id UUID NOT NULL,
    version BIGINT NOT NULL,
    CONSTRAINT pk_access_versions PRIMARY KEY (id)
)
 WITH (fillfactor = 70);

CREATE TABLE audit_arguments (
    call_id UUID NOT NULL,
    time TIMESTAMP WITH TIME ZONE NOT NULL,
    key_id VARCHAR NOT NULL,
    sealed BYTEA NOT NULL,
    CONSTRAINT pk_audit_arguments PRIMARY KEY (call_id, time)
)
 PARTITION BY RANGE (time);

CREATE TABLE audit_checkpoints (
    tree_size BIGSERIAL NOT NULL,
    epoch INTEGER NOT NULL,
    last_xact BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    root_hash BYTEA NOT NULL,
    note VARCHAR NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_audit_checkpoints PRIMARY KEY (tree_size)
);

CREATE TABLE audit_clients (
    id UUID NOT NULL,
    ip VARCHAR,
    user_agent VARCHAR,
    name VARCHAR,
    version VARCHAR,
    first_seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_audit_clients PRIMARY KEY (id)
);

CREATE TABLE audit_events (
    id UUID NOT NULL,
    time TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    epoch INTEGER DEFAULT scopegate_epoch() NOT NULL,
    xact BIGINT DEFAULT (pg_current_xact_id()::text)::bigint NOT NULL,
    seq BIGINT DEFAULT nextval('audit_events_seq') NOT NULL,
    action VARCHAR NOT NULL,
    decision VARCHAR,
    reason_code VARCHAR,
    outcome VARCHAR,
    actor_type VARCHAR NOT NULL,
    actor_id UUID,
    on_behalf_of UUID,
    token_id UUID,
    server_id UUID,
    tool VARCHAR,
    object_type VARCHAR,
    object_id UUID,
    grant_id UUID,
    policy_ids UUID[],
    policy_version BIGINT,
    approval_id UUID,
    client_id UUID,
    worker_id UUID,
    call_id UUID,
    method VARCHAR,
    arguments_digest BYTEA,
    definition_digest BYTEA,
    digest_key_id VARCHAR,
    changes JSONB,
    duration_ms INTEGER,
    event_count INTEGER,
    request_id VARCHAR,
    trace_id VARCHAR,
    CONSTRAINT pk_audit_events PRIMARY KEY (id, time)
)
 PARTITION BY RANGE (time);

CREATE TABLE audit_tree_nodes (
    level SMALLINT NOT NULL,
    position BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    event_id UUID,
    CONSTRAINT pk_audit_tree_nodes PRIMARY KEY (level, position)
);

CREATE TABLE compatibility (
    id INTEGER NOT NULL,
    oldest_generation INTEGER NOT NULL,
    CONSTRAINT pk_compatibility PRIMARY KEY (id)
);

CREATE TABLE ended_sessions (
    session_id UUID NOT NULL,
    token_id UUID NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_ended_sessions PRIMARY KEY (session_id)
);

CREATE TABLE identity_providers (
    id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revision INTEGER DEFAULT 1 NOT NULL,
    name VARCHAR NOT NULL,
    issuer VARCHAR,
    settings JSONB NOT NULL,
    CONSTRAINT pk_identity_providers PRIMARY KEY (id),
    CONSTRAINT uq_identity_providers_issuer UNIQUE (issuer)
);

CREATE TABLE object_versions (
    object_id UUID NOT NULL,
    version INTEGER NOT NULL,
    kind VARCHAR NOT NULL,
    valid_from TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE,
    content JSONB NOT NULL,
    CONSTRAINT pk_object_versions PRIMARY KEY (object_id, version)
);

CREATE TABLE quota_uses (
    quota_key VARCHAR NOT NULL,
    window_start TIMESTAMP WITH TIME ZONE NOT NULL,
    used INTEGER NOT NULL,
    CONSTRAINT pk_quota_uses PRIMARY KEY (quota_key, window_start)
);

CREATE TABLE token_uses (
    token_id UUID NOT NULL,
    last_used_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_token_uses PRIMARY KEY (token_id)
);

CREATE TABLE worker_leases (
    worker_id UUID NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    renewed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_worker_leases PRIMARY KEY (worker_id)
);

CREATE TABLE groups (
    id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revision INTEGER DEFAULT 1 NOT NULL,
    name VARCHAR NOT NULL,
    description VARCHAR,
    external_id VARCHAR,
    source VARCHAR DEFAULT 'manual' NOT NULL,
    provider_id UUID,
    owner_group_id UUID,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_groups PRIMARY KEY (id),
    CONSTRAINT fk_groups_provider_id FOREIGN KEY(provider_id) REFERENCES identity_providers (id),
    CONSTRAINT fk_groups_owner_group_id FOREIGN KEY(owner_group_id) REFERENCES groups (id)
);

CREATE TABLE identities (
    id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revision INTEGER DEFAULT 1 NOT NULL,
    kind VARCHAR NOT NULL,
    user_name VARCHAR NOT NULL,
    display_name VARCHAR,
    email VARCHAR,
    owner_id UUID,
    external_id VARCHAR,
    provider_id UUID,
    source VARCHAR DEFAULT 'manual' NOT NULL,
    status VARCHAR DEFAULT 'active' NOT NULL,
    suspended_with_owner BOOLEAN DEFAULT false NOT NULL,
    offboarded_at TIMESTAMP WITH TIME ZONE,
    receipt_id UUID,
    erased_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_identities PRIMARY KEY (id),
    CONSTRAINT fk_identities_owner_id FOREIGN KEY(owner_id) REFERENCES identities (id),
    CONSTRAINT fk_identities_provider_id FOREIGN KEY(provider_id) REFERENCES identity_providers (id)
);

CREATE TABLE administrators (
    id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revision INTEGER DEFAULT 1 NOT NULL,
    identity_id UUID NOT NULL,
    status VARCHAR DEFAULT 'active' NOT NULL,
    CONSTRAINT pk_administrators PRIMARY KEY (id),
    CONSTRAINT uq_administrators_identity_id UNIQUE (identity_id),
    CONSTRAINT fk_administrators_identity_id FOREIGN KEY(identity_id) REFERENCES identities (id)
);

CREATE TABLE approvals (
    id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revision INTEGER DEFAULT 1 NOT NULL,
    kind VARCHAR NOT NULL,
    state VARCHAR DEFAULT 'pending' NOT NULL,
    identity_id UUID NOT NULL,
    token_id UUID,
    server_id UUID,
    tool VARCHAR,
    arguments_digest BYTEA,
    definition_digest BYTEA,
    policy_ids UUID[],
    approver_group_id UUID,
    reason VARCHAR,
    decided_by UUID,
    expires_at TIMESTAMP WITH TIME ZONE,
    consumed_by UUID,
    CONSTRAINT pk_approvals PRIMARY KEY (id),
    CONSTRAINT fk_approvals_identity_id FOREIGN KEY(identity_id) REFERENCES identities (id)
);

CREATE TABLE grants (
    id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revision INTEGER DEFAULT 1 NOT NULL,
    identity_id UUID,
    group_id UUID,
    servers JSONB NOT NULL,
    tools JSONB NOT NULL,
    resources BOOLEAN NOT NULL,
    prompts BOOLEAN NOT NULL,
    not_before TIMESTAMP WITH TIME ZONE,
    expires_at TIMESTAMP WITH TIME ZONE,
    reason VARCHAR,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_grants PRIMARY KEY (id),
    CONSTRAINT ck_grants_one_principal CHECK ((identity_id IS NULL) <> (group_id IS NULL)),
    CONSTRAINT fk_grants_identity_id FOREIGN KEY(identity_id) REFERENCES identities (id),
    CONSTRAINT fk_grants_group_id FOREIGN KEY(group_id) REFERENCES groups (id)
);

CREATE TABLE group_members (
    id UUID NOT NULL,
    group_id UUID NOT NULL,
    identity_id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_group_members PRIMARY KEY (id),
    CONSTRAINT fk_group_members_group_id FOREIGN KEY(group_id) REFERENCES groups (id),
    CONSTRAINT fk_group_members_identity_id FOREIGN KEY(identity_id) REFERENCES identities (id)
);

CREATE TABLE identity_links (
    id UUID NOT NULL,
    identity_id UUID NOT NULL,
    provider_id UUID,
    kind VARCHAR NOT NULL,
    value VARCHAR NOT NULL,
    CONSTRAINT pk_identity_links PRIMARY KEY (id),
    CONSTRAINT fk_identity_links_identity_id FOREIGN KEY(identity_id) REFERENCES identities (id),
    CONSTRAINT fk_identity_links_provider_id FOREIGN KEY(provider_id) REFERENCES identity_providers (id)
);

CREATE TABLE offboarding_receipts (
    id UUID NOT NULL,
    identity_id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    body JSONB NOT NULL,
    CONSTRAINT pk_offboarding_receipts PRIMARY KEY (id),
    CONSTRAINT fk_offboarding_receipts_identity_id FOREIGN KEY(identity_id) REFERENCES identities (id)
);

CREATE TABLE servers (
    id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revision INTEGER DEFAULT 1 NOT NULL,
    slug VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    description VARCHAR,
    labels JSONB DEFAULT '{}' NOT NULL,
    owner_group_id UUID,
    transport VARCHAR DEFAULT 'http' NOT NULL,
    url VARCHAR,
    command VARCHAR,
    args TEXT[],
    env_names TEXT[],
    status VARCHAR DEFAULT 'active' NOT NULL,
    new_tools VARCHAR DEFAULT 'quarantine' NOT NULL,
    keep_arguments VARCHAR DEFAULT 'off' NOT NULL,
    sync_state VARCHAR DEFAULT 'never' NOT NULL,
    sync_at TIMESTAMP WITH TIME ZONE,
    sync_error VARCHAR,
    first_synced_at TIMESTAMP WITH TIME ZONE,
    protocol_versions TEXT[] DEFAULT '{}' NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_servers PRIMARY KEY (id),
    CONSTRAINT fk_servers_owner_group_id FOREIGN KEY(owner_group_id) REFERENCES groups (id)
);

CREATE TABLE service_accounts (
    id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revision INTEGER DEFAULT 1 NOT NULL,
    name VARCHAR NOT NULL,
    owner_id UUID NOT NULL,
    role VARCHAR NOT NULL,
    status VARCHAR DEFAULT 'active' NOT NULL,
    owner_offboarded BOOLEAN DEFAULT false NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_service_accounts PRIMARY KEY (id),
    CONSTRAINT fk_service_accounts_owner_id FOREIGN KEY(owner_id) REFERENCES identities (id)
);

CREATE TABLE tokens (
    id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revision INTEGER DEFAULT 1 NOT NULL,
    identity_id UUID NOT NULL,
    parent_id UUID,
    depth INTEGER DEFAULT 0 NOT NULL,
    name VARCHAR NOT NULL,
    scope JSONB NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ip_allow TEXT[] DEFAULT '{}' NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    revoke_reason VARCHAR,
    CONSTRAINT pk_tokens PRIMARY KEY (id),
    CONSTRAINT fk_tokens_identity_id FOREIGN KEY(identity_id) REFERENCES identities (id),
    CONSTRAINT fk_tokens_parent_id FOREIGN KEY(parent_id) REFERENCES tokens (id)
);

CREATE TABLE role_assignments (
    id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revision INTEGER DEFAULT 1 NOT NULL,
    administrator_id UUID NOT NULL,
    role VARCHAR NOT NULL,
    within VARCHAR DEFAULT 'all' NOT NULL,
    CONSTRAINT pk_role_assignments PRIMARY KEY (id),
    CONSTRAINT fk_role_assignments_administrator_id FOREIGN KEY(administrator_id) REFERENCES administrators (id)
);

CREATE TABLE server_credentials (
    id UUID NOT NULL,
    server_id UUID NOT NULL,
    identity_id UUID,
    kind VARCHAR NOT NULL,
    origin VARCHAR NOT NULL,
    key_id VARCHAR NOT NULL,
    sealed BYTEA NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_server_credentials PRIMARY KEY (id),
    CONSTRAINT fk_server_credentials_server_id FOREIGN KEY(server_id) REFERENCES servers (id),
    CONSTRAINT fk_server_credentials_identity_id FOREIGN KEY(identity_id) REFERENCES identities (id)
);

CREATE TABLE service_account_credentials (
    id UUID NOT NULL,
    service_account_id UUID NOT NULL,
    digest BYTEA NOT NULL,
    pepper_key_id VARCHAR NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_service_account_credentials PRIMARY KEY (id),
    CONSTRAINT fk_service_account_credentials_service_account_id FOREIGN KEY(service_account_id) REFERENCES service_accounts (id)
);

CREATE TABLE token_secrets (
    id UUID NOT NULL,
    token_id UUID NOT NULL,
    digest BYTEA NOT NULL,
    pepper_key_id VARCHAR NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_token_secrets PRIMARY KEY (id),
    CONSTRAINT fk_token_secrets_token_id FOREIGN KEY(token_id) REFERENCES tokens (id)
);

CREATE TABLE tools (
    id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revision INTEGER DEFAULT 1 NOT NULL,
    server_id UUID NOT NULL,
    name VARCHAR NOT NULL,
    title VARCHAR,
    description VARCHAR,
    input_schema JSONB NOT NULL,
    output_schema JSONB,
    annotations JSONB,
    risk VARCHAR NOT NULL,
    assessed_risk VARCHAR NOT NULL,
    risk_overridden BOOLEAN DEFAULT false NOT NULL,
    state VARCHAR NOT NULL,
    held BOOLEAN DEFAULT false NOT NULL,
    definition_digest BYTEA NOT NULL,
    approved_digest BYTEA,
    removed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_tools PRIMARY KEY (id),
    CONSTRAINT fk_tools_server_id FOREIGN KEY(server_id) REFERENCES servers (id)
);

CREATE TABLE api_bearers (
    id UUID NOT NULL,
    credential_id UUID NOT NULL,
    digest BYTEA NOT NULL,
    pepper_key_id VARCHAR NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_api_bearers PRIMARY KEY (id),
    CONSTRAINT fk_api_bearers_credential_id FOREIGN KEY(credential_id) REFERENCES service_account_credentials (id)
);

CREATE INDEX ix_audit_events_actor_id ON audit_events (actor_id, xact);
CREATE INDEX ix_audit_events_call_id ON audit_events (call_id) WHERE call_id IS NOT NULL;
CREATE INDEX ix_audit_events_order ON audit_events (epoch, xact, seq);
CREATE INDEX ix_audit_events_refused ON audit_events (epoch, xact, seq) WHERE decision <> 'allow';
CREATE INDEX ix_audit_events_request_id ON audit_events (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX ix_audit_events_server_tool ON audit_events (server_id, tool, xact) WHERE server_id IS NOT NULL;
CREATE INDEX ix_audit_events_token_id ON audit_events (token_id, xact) WHERE token_id IS NOT NULL;
CREATE INDEX ix_ended_sessions_token_id ON ended_sessions (token_id);
CREATE INDEX ix_object_versions_kind_valid_from ON object_versions (kind, valid_from);
CREATE UNIQUE INDEX uq_groups_name ON groups (coalesce(provider_id::text, ''), lower(name)) WHERE ended_at IS NULL;
CREATE INDEX ix_identities_owner_id ON identities (owner_id);
CREATE UNIQUE INDEX uq_identities_external_id ON identities (coalesce(provider_id::text, ''), external_id) WHERE status <> 'offboarded' AND external_id IS NOT NULL;
CREATE UNIQUE INDEX uq_identities_user_name ON identities (coalesce(provider_id::text, ''), lower(user_name)) WHERE status <> 'offboarded';
CREATE INDEX ix_approvals_identity_id ON approvals (identity_id);
CREATE INDEX ix_approvals_token_id ON approvals (token_id);
CREATE INDEX ix_grants_group_id ON grants (group_id);
CREATE INDEX ix_grants_identity_id ON grants (identity_id);
CREATE INDEX ix_group_members_identity_id ON group_members (identity_id);
CREATE UNIQUE INDEX uq_group_members_pair ON group_members (group_id, identity_id);
CREATE INDEX ix_identity_links_identity_id ON identity_links (identity_id);
CREATE UNIQUE INDEX uq_identity_links_value ON identity_links (coalesce(provider_id::text, ''), kind, value);
CREATE INDEX ix_offboarding_receipts_identity_id ON offboarding_receipts (identity_id);
CREATE UNIQUE INDEX uq_servers_slug ON servers (slug) WHERE ended_at IS NULL;
CREATE INDEX ix_service_accounts_owner_id ON service_accounts (owner_id);
CREATE INDEX ix_tokens_identity_id ON tokens (identity_id);
CREATE INDEX ix_tokens_parent_id ON tokens (parent_id);
CREATE UNIQUE INDEX uq_role_assignments ON role_assignments (administrator_id, role, within);
CREATE UNIQUE INDEX uq_server_credentials_holder ON server_credentials (server_id, coalesce(identity_id::text, ''));
CREATE INDEX ix_service_account_credentials_service_account_id ON service_account_credentials (service_account_id);
CREATE INDEX ix_token_secrets_token_id ON token_secrets (token_id);
CREATE UNIQUE INDEX uq_tools_server_name ON tools (server_id, name);
CREATE INDEX ix_api_bearers_credential_id ON api_bearers (credential_id);
CREATE INDEX ix_api_bearers_expires_at ON api_bearers (expires_at);
"""

AFTER = """
INSERT INTO compatibility (id, oldest_generation) VALUES (1, 1);

-- The policy set and the fleet are things that decisions rest on, too.
INSERT INTO access_versions (id, version) VALUES
    ('00000000-0000-7000-8000-000000000001', 1),
    ('00000000-0000-7000-8000-000000000002', 1);

-- Append-only for everybody, the owner included, until somebody drops the trigger on purpose.
CREATE FUNCTION scopegate_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION scopegate_refuse_change();
CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION scopegate_refuse_change();
CREATE TRIGGER audit_checkpoints_append_only BEFORE UPDATE OR DELETE ON audit_checkpoints
    FOR EACH ROW EXECUTE FUNCTION scopegate_refuse_change();

-- This month and three ahead. There is no default partition, so a missing month is a fault, not a silent heap.
DO $$
DECLARE
    month date := date_trunc('month', now() AT TIME ZONE 'UTC')::date;
    parent text;
BEGIN
    FOR ahead IN 0..3 LOOP
        FOREACH parent IN ARRAY ARRAY['audit_events', 'audit_arguments'] LOOP
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                parent || '_' || to_char(month + make_interval(months => ahead), '"y"YYYY"m"MM'),
                parent,
                to_char(month + make_interval(months => ahead), 'YYYY-MM-DD') || ' 00:00:00+00',
                to_char(month + make_interval(months => ahead + 1), 'YYYY-MM-DD') || ' 00:00:00+00'
            );
        END LOOP;
    END LOOP;
END
$$;
"""


def upgrade() -> None:
    for script in (BEFORE, TABLES, AFTER):
        for statement in _statements(script):
            op.get_bind().exec_driver_sql(statement)


def _statements(script: str) -> list[str]:
    """Split at semicolons outside dollar quotes, because the driver accepts one statement at a time."""
    statements, current, quoted = [], "", False
    for index, part in enumerate(script.split("$$")):
        quoted = index % 2 == 1
        if index:
            current += "$$"
        if quoted:
            current += part
            continue
        *whole, rest = part.split(";")
        for piece in whole:
            statements.append(current + piece)
            current = ""
        current += rest
    return [one for one in (*statements, current) if one.strip()]

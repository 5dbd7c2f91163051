"""How builds are broken on purpose: what each has in place of what. A refactoring moves these along."""

from tests.faults.rig.compiled_in import Break, Unfit

_IN_FLIGHT = "app/features/access/in_flight.py"
_ROWS = "app/features/access/rows.py"
_READING = "app/features/access/reading.py"
_MIRROR = "app/gateway/mirror/call.py"
_ENVELOPE = "app/gateway/wire/envelope.py"
_OUTBOUND = "app/kit/outbound/client.py"

BREAKS: dict[str, tuple[Break, ...]] = {
    "cached_check": (
        # What is remembered to be allowed is, as in gateways with a cached check: nothing makes it fresh. A refusal
        # is decided anew, or nobody would ever be allowed what is new.
        Break(
            _ROWS,
            "row.grounds IS NULL OR NOT row.grounds",
            "row.grounds IS NULL OR row.valid_from IS NOT NULL OR NOT row.grounds",
        ),
        Break(_IN_FLIGHT, "        self._on_narrowed(ids)\n", ""),
        Break(_IN_FLIGHT, "        for pair in moved:\n", "        for pair in moved[:0]:\n"),
    ),
    "audit_after_forward": (
        Break(
            "app/gateway/pipeline.py",
            "if await self._admit(exchange, call, view, flight) and await self._carry(passed, forward):",
            "flight.admitted_at = boot_time()\n                    if await self._carry(passed, forward) "
            "and await self._admit(exchange, call, view, flight):",
        ),
    ),
    "admitted_at_resume": (
        # The time is taken when whoever waited for the admission goes on: after a freeze, that is long after it held.
        Break(
            "app/lifespan/admissions.py",
            "            return Admitted(settlement.sent_at)\n",
            "            return Admitted(__import__('time').clock_gettime(7))\n",
        ),
        Break(
            "app/lifespan/admissions.py",
            "        return Admitted(sent)\n",
            "        return Admitted(__import__('time').clock_gettime(7))\n",
        ),
    ),
    "asynchronous_commit": (
        Break(
            _ROWS,
            "set_config('synchronous_commit', 'on', true)",
            "set_config('synchronous_commit', 'off', true)",
        ),
    ),
    "fail_open": (
        Break(
            "app/lifespan/admissions.py",
            "            sent = await self._writer.write(row)\n"
            "        except AdmissionUnavailable as error:\n"
            "            raise StoreUnavailable from error\n",
            "            sent = await self._writer.write(row)\n"
            "        except AdmissionUnavailable:\n"
            "            sent = float('inf')\n",
        ),
    ),
    "error_500": (
        Break(
            "app/gateway/wire/refusals.py",
            '        503,\n        INTERNAL_ERROR,\n        "The gateway cannot record calls',
            '        500,\n        INTERNAL_ERROR,\n        "The gateway cannot record calls',
        ),
    ),
    "scope_at_issue": (
        Break(
            "app/domain/access.py",
            "        if not _scope_reaches(link.scope, server, tool, question.part):\n",
            "        if False:\n",
        ),
    ),
    "raw_body": (
        Break(
            _ENVELOPE,
            "    reason: str | None = None\n",
            "    reason: str | None = None\n    raw: bytes = b''\n",
        ),
        Break(_ENVELOPE, "    return message\n", "    message.raw = raw\n    return message\n"),
        Break(_ENVELOPE, "strict_json.dumps(self.body)\n", "self.raw or strict_json.dumps(self.body)\n"),
    ),
    "redirects_followed": (
        Break(
            _MIRROR,
            "                secrets = secrets_of(target)\n                if response.status != 200:\n"
            "                    raise await refuse_status(response, secrets)\n",
            '                place = response.header(b"location")\n                if place is not None:\n'
            "                    base = target.url[: target.url.index('/', 8)]\n"
            "                    response = await self.mirror.outbound.request(\n"
            '                        "POST", base + place.decode(), self._headers(target), body, timeouts=times\n'
            "                    )\n                secrets = secrets_of(target)\n"
            "                if response.status != 200:\n"
            "                    raise await refuse_status(response, secrets)\n",
        ),
    ),
    "sent_twice": (
        # What is not answered soon is sent again, on another connection.
        Break(
            _OUTBOUND,
            "                response = await head\n            except asyncio.CancelledError:\n",
            "                await asyncio.wait({head}, timeout=0.08)\n"
            "                if not head.done():\n"
            "                    connection = await pool.acquire(timeouts.connect, caller)\n"
            "                    head = connection.start(wire, timeouts)\n"
            "                response = await head\n            except asyncio.CancelledError:\n",
        ),
    ),
    "no_cut": (Break(_IN_FLIGHT, "                watched.cut()\n", "                pass\n"),),
    "half_a_cut": (
        # The client is cut, and the upstream goes on for nobody. Kept, since what nobody has any more is closed.
        Break(
            _OUTBOUND,
            "                if head.cancelled():\n                    connection.abort()\n",
            "                if head.cancelled():\n"
            "                    globals().setdefault('kept', []).append(connection)\n",
        ),
    ),
    "notifications_alone": (
        # What is not told is not looked at: neither who was revoked, nor whether that can be seen.
        Break(_IN_FLIGHT, "CHECK_EVERY_S = 0.5\n", "CHECK_EVERY_S = 86400.0\n"),
        Break(_IN_FLIGHT, "BLIND_AFTER_S = 10.0\n", "BLIND_AFTER_S = 86400.0\n"),
    ),
    "never_blind": (Break(_IN_FLIGHT, "BLIND_AFTER_S = 10.0\n", "BLIND_AFTER_S = 86400.0\n"),),
    "answered_before_commit": (
        Break(
            "app/kit/database.py",
            "    async with sessions() as session:\n        request.state.session = session\n        yield session\n",
            "    session = sessions()\n    if True:\n        request.state.session = session\n        yield session\n",
        ),
        Break(
            "app/kit/database.py",
            "        await commit(session)\n\n\nasync def commit(",
            "        import asyncio\n\n        async def later() -> None:\n"
            '            await asyncio.sleep(0.2 if session.info.get("narrowed_ids") else 0)\n'
            "            await commit(session)\n            await session.close()\n\n"
            "        late = asyncio.create_task(later())\n"
            '        if not session.info.get("narrowed_ids"):\n            await late\n\n\nasync def commit(',
        ),
    ),
    "leaving_unmoved": (
        Break(
            "app/features/groups/service.py",
            "    await move_versions(session, [identity_id], narrows=True)\n"
            '    await _record_member(session, caller, "group.remove_member"',
            '    await _record_member(session, caller, "group.remove_member"',
        ),
    ),
    "read_apart": (
        # The contents first, and the version later: what is taken between the two stays under the version after it.
        Break(_READING, 'isolation="repeatable_read"', 'isolation="read_committed"'),
        Break(
            _READING,
            "    chains = await connection.fetch(_CHAINS, ids)\n    # failpoint: between_reads\n",
            "    chains = [dict(row) for row in await connection.fetch(_CHAINS, ids)]\n"
            "    for _ in range(20 if chains else 0):\n"
            '        await connection.fetch("SELECT pg_sleep(0.05)")\n'
            '        told = "SELECT version FROM access_versions WHERE id = $1"\n'
            '        before = [row["version"] for row in chains]\n'
            "        for row in chains:\n"
            '            [[row["version"]]] = await connection.fetch(told, row["id"])\n'
            '        if before != [row["version"] for row in chains]:\n'
            "            break\n",
        ),
    ),
    "approval_unlocked": (
        Break("app/features/access/consuming.py", "ORDER BY id FOR UPDATE\n", "ORDER BY id\n"),
    ),
    "secret_in_a_log": (
        Break(
            "app/gateway/authenticate.py",
            '        raw = exchange.headers.get(b"authorization", b"")\n',
            '        raw = exchange.headers.get(b"authorization", b"")\n'
            "        __import__('sys').stderr.write(f'{raw.decode(\"latin-1\")}\\n')\n",
        ),
    ),
    "never_unknown": (
        Break("app/features/audit/queries.py", '        else_="unknown",\n', '        else_="in_flight",\n'),
    ),
    "late_commits_unsealed": (
        Break(
            "app/features/sealed_log/leaves.py",
            "              ELSE pg_snapshot_xmin(pg_current_snapshot())::text::bigint END)\n"
            "ORDER BY epoch, xact, seq\nLIMIT $6\n",
            "              ELSE {_NO_END} END)\nORDER BY epoch, xact, seq\nLIMIT $6\n",
        ),
    ),
    "rewind_unnoticed": (
        Break(
            "app/kit/rewinds.py",
            "        reason = _ADVICE.format(what=what)\n",
            "        return\n        reason = _ADVICE.format(what=what)\n",
        ),
    ),
    "origin_table_writable": (
        Break(
            "app/kit/migrations.py",
            '"audit_clients", "audit_events", "audit_tiles"',
            '"audit_events", "audit_tiles"',
        ),
        Break(
            "app/kit/migrations.py",
            '        f"REVOKE INSERT ON audit_events FROM {to}",\n',
            '        f"REVOKE INSERT ON audit_events FROM {to}",\n'
            '        "DROP TRIGGER IF EXISTS audit_clients_append_only ON audit_clients",\n',
        ),
    ),
    "epoch_reused": (
        # The function as it was: any epoch of this system and timeline will do.
        Break(
            "app/features/audit/epochs.py",
            "    epoch: int | None = await connection.fetchval(_CURRENT)\n    if epoch is not None:\n",
            "    async with connection.transaction():\n"
            '        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)\n'
            "        await connection.execute(\n"
            '            "CREATE OR REPLACE FUNCTION scopegate_epoch() RETURNS integer LANGUAGE sql STABLE AS $$ "\n'
            '            "SELECT min(epoch) FROM log_epochs "\n'
            '            "WHERE system_identifier = (SELECT system_identifier FROM pg_control_system()) $$"\n'
            "        )\n"
            '    epoch: int | None = await connection.fetchval("SELECT scopegate_epoch()")\n'
            "    if epoch is not None:\n",
        ),
    ),
    "signed_anew": (
        # Whoever takes over leaves an event out, and signs a whole new tree: with itself, all of it agrees.
        Break(
            "app/features/sealed_log/sealing.py",
            "        last = await latest_checkpoint(connection)\n        if last is None:\n            if await",
            "        last = await latest_checkpoint(connection)\n        if last is not None:\n"
            "            async with connection.transaction():\n"
            '                await connection.execute("SET LOCAL session_replication_role = replica")\n'
            '                for table in ("audit_checkpoints", "audit_tiles"):\n'
            '                    await connection.execute(f"DELETE FROM {table}")\n'
            "                await connection.execute(\n"
            '                    "DELETE FROM audit_events WHERE id = (SELECT id FROM audit_events "\n'
            "                    \"WHERE action NOT LIKE 'tool%' ORDER BY epoch, xact, seq LIMIT 1)\"\n"
            "                )\n"
            "            last = None\n"
            "        if last is None:\n            if await",
        ),
    ),
}


def breaks_of(mutant: str) -> tuple[Break, ...]:
    """How the mutant of this name is broken; not at all when the name is empty. Raises ``Unfit``."""
    if mutant and mutant not in BREAKS:
        raise Unfit(f"there is no mutant {mutant}")
    return BREAKS.get(mutant, ())

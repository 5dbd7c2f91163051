"""Arguments of a pending call are shown to its approvers while they can decide, and each reading is audited."""

from datetime import UTC, datetime, timedelta

from app.crypto.keys import Sealer
from app.db.call_arguments import arguments_place
from app.http.authorization import Role
from app.lib.ids import APPROVAL, format_id
from app.lib.strict_json import canonical
from app.models.access import Approval
from app.models.audit import AuditArguments, AuditEvent
from tests.api import KEY
from tests.features.approvals.desk import Desk, path
from tests.features.callers import a_person

ARGUMENTS = {"amount": 9007199254740993, "to": "4711"}


async def keep(desk: Desk, asked: Approval) -> None:
    """Store the encrypted arguments of the call, as the gateway does."""
    assert asked.event_id is not None
    sealed = Sealer([KEY.encode()]).seal(canonical(ARGUMENTS), arguments_place(asked.event_id))  # type: ignore[arg-type]
    kept = AuditArguments(
        call_id=asked.event_id, time=datetime.now(UTC), key_id=sealed.key_id, sealed=sealed.data
    )
    call = AuditEvent(id=asked.event_id, action="tool.call", actor_type="identity", tool="refund")
    await desk.world.add(call, kept, versioned=False)


async def test_those_who_decide_read_the_arguments_while_they_can_and_that_is_on_record(desk: Desk) -> None:
    asked, grace = await desk.asked(), a_person(desk.grace)
    where = path(asked, "/arguments")
    missing = await desk.signed_in(grace).get(where)
    assert missing.json() == {"approval_id": format_id(APPROVAL, asked.id), "kept": False, "arguments": None}
    await keep(desk, asked)
    assert (await desk.signed_in(grace).get(path(asked))).json()["arguments_kept"] is True
    answer = await desk.signed_in(grace).get(where)
    assert (answer.status_code, answer.json()["arguments"]) == (200, ARGUMENTS)
    assert answer.headers["cache-control"] == "no-store"
    looked = await desk.world.sql(
        "SELECT actor_id, object_id, changes FROM audit_events WHERE action = 'arguments.read'"
    )
    assert [tuple(row) for row in looked] == [(desk.grace.id, asked.event_id, None)]
    assert (await desk.decide(grace, asked)).status_code == 200
    assert (await desk.signed_in(grace).get(where)).status_code == 403


async def test_no_one_else_reads_them_without_the_permission(desk: Desk) -> None:
    asked, late = await desk.asked(), await desk.asked(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    for one in (asked, late):
        await keep(desk, one)
    await desk.join(desk.ada)
    other = await desk.world.person()
    for caller, one, status in (
        (a_person(desk.ada), asked, 403),
        (a_person(desk.grace), late, 403),
        (a_person(other), asked, 404),
        (a_person(other, Role.ISSUER), asked, 403),
        (a_person(other, Role.AUDITOR), asked, 200),
        (a_person(other, Role.AUDITOR), late, 200),
    ):
        answer = await desk.signed_in(caller).get(path(one, "/arguments"))
        assert answer.status_code == status, answer.text
        assert ("4711" in answer.text) == (status == 200)

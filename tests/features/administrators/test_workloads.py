"""Workloads with a provider token act as a service account while it lives, and never become people."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from app.crypto.keys import Peppers
from app.domain.errors import Unauthenticated
from app.features.administrators.sign_in import sign_in
from app.features.identity_providers.schemas import Provider, WorkloadView
from app.http.authorization import Role
from app.lib.ids import IDENTITY_PROVIDER, format_id
from tests.api import Account, make_account
from tests.features.administrators.people import NOW, ROLES, Json, Sessions, rows, run, stored_provider

JOB: Json = {
    "sub": "repo:acme/tools",
    "iat": NOW,
    "ref": "refs/heads/main",
    "kubernetes.io": {"namespace": "ci"},
}


@pytest.fixture
async def account(sessions: Sessions, peppers: Peppers) -> Account:
    return await make_account(sessions, peppers, Role.ISSUER)


async def provider_with(sessions: Sessions, *workloads: tuple[UUID, Json], **fields: Any) -> Provider:
    mapped = tuple(
        WorkloadView.model_construct(service_account_id=id, claims=conditions) for id, conditions in workloads
    )
    return await stored_provider(sessions, workloads=mapped, **{"role_map": {}} | fields)


async def assert_refused(sessions: Sessions, provider: Provider, said: Json = JOB) -> None:
    people = await rows(sessions, "SELECT 1 FROM identities")
    with pytest.raises(Unauthenticated):
        await sign_in(sessions, provider, said, None)
    assert await rows(sessions, "SELECT 1 FROM identities") == people


async def test_claims_that_all_match_act_as_the_account_and_make_nobody(
    sessions: Sessions, account: Account
) -> None:
    conditions = {"sub": "repo:acme/tools", "kubernetes.io.namespace": "ci"}
    provider = await provider_with(sessions, (account.id, conditions))
    people = await rows(sessions, "SELECT 1 FROM identities")
    caller = await sign_in(sessions, provider, JOB, None)
    assert (caller.kind, caller.id, caller.identity_id) == ("service_account", account.id, account.owner_id)
    assert caller.roles == {Role.ISSUER}
    assert await rows(sessions, "SELECT 1 FROM identities") == people
    assert await rows(sessions, "SELECT 1 FROM identity_links") == []


@pytest.mark.parametrize(
    "conditions",
    [
        {"sub": "repo:acme/other"},
        {"sub": "repo:acme/tools", "ref": "refs/heads/release"},
        {"sub": "repo:acme/tools", "absent": "x"},
        {"sub": "repo:acme"},
        {"sub": "REPO:ACME/TOOLS"},
        {"iat": str(NOW)},
        {},
    ],
    ids=repr,
)
async def test_a_condition_that_does_not_hold_or_none_at_all_refuses(
    sessions: Sessions, account: Account, conditions: Json
) -> None:
    await assert_refused(sessions, await provider_with(sessions, (account.id, conditions)))


@pytest.mark.parametrize("value", [["repo:acme/tools"], 7, True, None, {"repo:acme/tools": 1}], ids=repr)
async def test_only_text_matches_text(sessions: Sessions, account: Account, value: Any) -> None:
    provider = await provider_with(sessions, (account.id, {"ref": "repo:acme/tools"}))
    await assert_refused(sessions, provider, JOB | {"ref": value})


async def test_a_token_that_fits_two_accounts_is_neither(
    sessions: Sessions, account: Account, peppers: Peppers
) -> None:
    other = await make_account(sessions, peppers, Role.OWNER)
    both = [(account.id, {"sub": JOB["sub"]}), (other.id, {"ref": JOB["ref"]})]
    await assert_refused(sessions, await provider_with(sessions, *both))
    twice = [(account.id, {"sub": JOB["sub"]}), (account.id, {"ref": JOB["ref"]})]
    assert (await sign_in(sessions, await provider_with(sessions, *twice), JOB, None)).id == account.id


async def test_a_provider_of_people_and_programs_knows_both(sessions: Sessions, account: Account) -> None:
    provider = await provider_with(sessions, (account.id, {"ref": JOB["ref"]}), role_map=ROLES)
    assert (await sign_in(sessions, provider, JOB, None)).kind == "service_account"
    person = {"sub": "ada", "iat": NOW, "groups": ["sg-admins"]}
    assert (await sign_in(sessions, provider, person, None)).kind == "administrator"


ENDINGS = {
    "account disabled": "UPDATE service_accounts SET status = 'disabled'",
    "account ended": "UPDATE service_accounts SET ended_at = now()",
    "account flagged": "UPDATE service_accounts SET owner_offboarded = true",
    "owner suspended": "UPDATE identities SET status = 'suspended'",
    "owner offboarded": "UPDATE identities SET status = 'offboarded'",
    "provider disabled": "UPDATE identity_providers SET status = 'disabled'",
    "provider ended": "UPDATE identity_providers SET ended_at = now()",
}


@pytest.mark.parametrize("ending", list(ENDINGS))
async def test_a_workload_ends_with_what_it_rests_on(
    sessions: Sessions, account: Account, ending: str
) -> None:
    provider = await provider_with(sessions, (account.id, {"sub": JOB["sub"]}))
    await sign_in(sessions, provider, JOB, None)
    await run(sessions, ENDINGS[ending])
    await assert_refused(sessions, provider)


async def test_a_revoked_secret_of_the_account_is_no_matter(sessions: Sessions, account: Account) -> None:
    provider = await provider_with(sessions, (account.id, {"sub": JOB["sub"]}))
    await run(sessions, "UPDATE service_account_credentials SET revoked_at = now()")
    assert (await sign_in(sessions, provider, JOB, None)).id == account.id


async def test_each_token_of_a_program_is_recorded_once_and_names_its_provider(
    sessions: Sessions, account: Account
) -> None:
    provider = await provider_with(sessions, (account.id, {"sub": JOB["sub"]}))
    for said in (JOB, JOB, JOB | {"iat": NOW - 60}, JOB | {"jti": "another"}, JOB):
        await sign_in(sessions, provider, said, "req_test")
    events = await rows(sessions, "SELECT * FROM audit_events")
    assert [(one.action, one.actor_id, one.request_id) for one in events] == [
        ("service_account.sign_in", account.id, "req_test")
    ] * 3
    assert {str(one.changes) for one in events} == {
        str({"provider_id": format_id(IDENTITY_PROVIDER, provider.id)})
    }


async def test_a_token_used_first_by_several_at_once_is_recorded_once(
    sessions: Sessions, account: Account
) -> None:
    provider = await provider_with(sessions, (account.id, {"sub": JOB["sub"]}))
    await asyncio.gather(*(sign_in(sessions, provider, JOB, None) for _ in range(3)))
    assert len(await rows(sessions, "SELECT 1 FROM audit_events")) == 1


async def test_tokens_that_are_long_gone_are_forgotten(sessions: Sessions, account: Account) -> None:
    provider = await provider_with(sessions, (account.id, {"sub": JOB["sub"]}))
    await sign_in(sessions, provider, JOB, None)
    await run(sessions, "UPDATE workload_sign_ins SET expires_at = now() - interval '1 second'")
    await sign_in(sessions, provider, JOB | {"jti": "another"}, None)
    assert len(await rows(sessions, "SELECT 1 FROM workload_sign_ins")) == 1

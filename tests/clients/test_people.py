"""The client and the real service: identities, groups, and who leaves."""

from datetime import UTC, datetime, timedelta

import pytest
from scopegate_client import Client, Secret
from scopegate_client.errors import Conflict, InvalidArgument, NotFound, PreconditionFailed, ValidationFailed
from scopegate_client.models import InvitedPerson

from tests.clients.drives import drives
from tests.clients.names import name


@drives(
    *("create_access_token", "create_identity", "get_identity", "list_identities", "update_identity"),
    *("suspend_identity", "reinstate_identity", "delete_identity"),
)
def test_an_identity_from_its_first_day_to_its_last(client: Client) -> None:
    user_name = name("ada")
    ada = client.identities.create(kind="person", user_name=user_name, display_name="Ada")
    assert client.identities.get(ada.id) == ada
    assert [found.id for found in client.identities.list(user_name=user_name)] == [ada.id]
    renamed = client.identities.update(ada.id, display_name="Ada L.", if_match=ada.revision)
    assert renamed.display_name == "Ada L."
    with pytest.raises(PreconditionFailed) as stale:
        client.identities.update(ada.id, display_name="Eve", if_match=ada.revision)
    assert stale.value.code == "revision_mismatch"
    assert client.identities.suspend(ada.id).status == "suspended"
    assert client.identities.reinstate(ada.id).status == "active"
    assert client.identities.delete(ada.id, reason="a duplicate").identity.status == "offboarded"


@drives("offboard_identity", "offboard_identity_by_name")
def test_a_leaver_is_found_by_whichever_name_one_has(client: Client) -> None:
    number = name("hr")
    grace = client.identities.create(
        kind="person", user_name=name("grace"), display_name="Grace", external_id=number
    )
    preview = client.identities.offboard(external_id=number, reason="left", dry_run=True)
    assert (preview.changed, preview.receipt_id) == (True, None)
    assert preview.preview is not None
    assert (preview.preview.groups, preview.preview.calls_last_day) == ([], 0)
    assert client.identities.get(grace.id).status == "active"
    receipt = client.identities.offboard(external_id=number, reason="left")
    assert (receipt.changed, receipt.identity.id) == (True, grace.id)
    for again in (
        client.identities.offboard(external_id=number, reason="left"),
        client.identities.offboard(user_name=grace.user_name, reason="left"),
        client.identities.offboard(grace.id, reason="left"),
    ):
        assert (again.changed, again.receipt_id) == (False, receipt.receipt_id)


@drives(
    *("list_scheduled_offboardings", "get_scheduled_offboarding", "cancel_scheduled_offboarding"),
    *("list_offboarding_receipts", "get_offboarding_receipt", "get_public_keys"),
)
def test_a_leaver_is_set_for_later_and_their_receipt_is_kept(client: Client) -> None:
    grace = client.identities.create(kind="person", user_name=name("grace"))
    last_day = datetime.now(UTC) + timedelta(days=30)
    answer = client.identities.offboard(grace.id, reason="leaves", effective_at=last_day)
    assert (answer.changed, answer.scheduled and answer.scheduled.effective_at) == (False, last_day)
    [waits] = client.scheduled_offboardings.list(identity_id=grace.id, status="pending")
    assert client.scheduled_offboardings.get(waits.id) == waits
    with pytest.raises(PreconditionFailed):
        client.scheduled_offboardings.cancel(waits.id, if_match=waits.revision + 1)
    assert client.scheduled_offboardings.cancel(waits.id, if_match=waits.revision).status == "cancelled"
    receipt_id = client.identities.offboard(grace.id, reason="left").receipt_id
    assert receipt_id is not None
    receipt = client.offboarding_receipts.get(receipt_id)
    assert [found.id for found in client.offboarding_receipts.list(identity_id=grace.id)] == [receipt_id]
    keys = client.offboarding_receipts.get_public_keys().keys
    assert receipt.key_id in [key.kid for key in keys]


@drives("erase_identity")
def test_a_leaver_is_erased_once_they_have_left(client: Client) -> None:
    ada = client.identities.create(kind="person", user_name=name("ada"), display_name="Ada")
    with pytest.raises(Conflict) as early:
        client.identities.erase(ada.id)
    assert early.value.code == "identity_not_offboarded"
    left = client.identities.offboard(ada.id, reason="left").identity
    erased = client.identities.erase(ada.id, if_match=left.revision)
    assert (erased.id, erased.user_name, erased.display_name) == (ada.id, ada.id, None)
    assert erased.erased_at is not None
    assert client.identities.erase(ada.id) == erased
    with pytest.raises(Conflict) as late:
        client.identities.reinstate(ada.id)
    assert late.value.code == "identity_erased"


def test_offboarding_nobody_or_two_at_once_is_not_sent(client: Client) -> None:
    with pytest.raises(InvalidArgument, match="Specify one of"):
        client.identities.offboard(reason="left")
    with pytest.raises(InvalidArgument, match="Specify one of"):
        client.identities.offboard(user_name="ada", external_id="4711", reason="left")


@drives(
    *("create_group", "get_group", "list_groups", "update_group", "delete_group"),
    *("add_group_member", "get_group_member", "list_group_members", "remove_group_member"),
)
def test_a_group_and_its_members(client: Client) -> None:
    group = client.groups.create(name=name("platform"), description="who is on call")
    ada = client.identities.create(kind="person", user_name=name("ada"), display_name="Ada")
    assert client.groups.add_member(group.id, ada.id).identity_id == ada.id
    assert client.groups.add_member(group.id, ada.id).identity_id == ada.id
    assert client.groups.get_member(group.id, ada.id).identity_id == ada.id
    assert [member.identity_id for member in client.groups.list_members(group.id)] == [ada.id]
    assert [found.id for found in client.groups.list(member_id=ada.id)] == [group.id]
    client.groups.remove_member(group.id, ada.id)
    assert client.groups.list_members(group.id).first() is None
    assert client.groups.update(group.id, description=None).description is None
    client.groups.delete(group.id)
    with pytest.raises(NotFound):
        client.groups.get(group.id)


def test_a_list_goes_through_all_its_pages(client: Client) -> None:
    stem = name("many")
    made = [client.groups.create(name=f"{stem}-{number}").id for number in range(5)]
    listing = client.groups.list(q=stem, page_size=2)
    assert [group.id for group in listing] == made[::-1]
    assert [len(page.items) for page in listing.pages()] == [2, 2, 1]
    first = listing.first()
    assert first is not None
    assert first.id == made[-1]
    assert [group.id for group in client.groups.list(q=stem, page_size=2, sort="name")] == made


def test_a_field_that_is_wrong_is_named(client: Client) -> None:
    with pytest.raises(ValidationFailed) as refused:
        client.groups.create(name="")
    assert [error.pointer for error in refused.value.errors] == ["/name"]
    assert "/name" in str(refused.value)
    assert refused.value.request_id is not None


def test_null_clears_a_field_and_leaving_it_out_does_not(client: Client) -> None:
    agent_owner = client.identities.create(kind="person", user_name=name("ada"), display_name="Ada")
    ada = client.identities.update(agent_owner.id, email="ada@example.com")
    assert client.identities.update(ada.id, display_name="Ada L.").email == "ada@example.com"
    assert client.identities.update(ada.id, email=None).email is None


@drives("create_invitation", "list_invitations", "get_invitation", "confirm_invitation", "revoke_invitation")
def test_a_person_is_invited_and_the_invitation_revoked(client: Client) -> None:
    provider = client.identity_providers.create(
        name="SSO",
        issuer=f"https://{name('sso')}.example.com",
        audiences=["https://scopegate.example.com"],
        client_id="scopegate",
    )
    made = client.invitations.create(
        provider_id=provider.id, person=InvitedPerson(user_name=name("nora")), email="nora@example.com"
    )
    assert isinstance(made.url, Secret)
    assert "/invitations/sgi_" in made.url.reveal()
    invitation = made.invitation
    assert client.invitations.get(invitation.id) == invitation
    assert [found.id for found in client.invitations.list(identity_id=invitation.identity_id)] == [
        invitation.id
    ]
    with pytest.raises(Conflict) as early:
        client.invitations.confirm(invitation.id)
    assert early.value.code == "invitation_not_claimed"
    assert client.invitations.revoke(invitation.id, if_match=invitation.revision).status == "revoked"

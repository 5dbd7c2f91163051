"""The operations of policies, for threads and for asyncio."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ...._call import JsonObject
from ...._resource import AsyncResource, Resource
from ....listing import AsyncFollowing, AsyncListing, Following, Listing
from ...models.policy import Policy
from ...models.policy_change import PolicyChange
from ...models.policy_diff import PolicyDiff
from ...models.policy_mode import PolicyMode
from ...models.policy_order import PolicyOrder
from ...models.policy_schema import PolicySchema
from ...models.policy_simulation import PolicySimulation
from ...models.policy_status import PolicyStatus
from ...models.policy_template_parameters import PolicyTemplateParameters
from ...models.policy_templates import PolicyTemplates
from ...models.policy_test import PolicyTest
from ...models.policy_test_report import PolicyTestReport
from ...models.policy_version import PolicyVersion
from ...models.rendered_policy import RenderedPolicy
from ...models.simulated_change import SimulatedChange
from ...types import UNSET, Unset
from . import create_policy as _create_policy
from . import delete_policy as _delete_policy
from . import diff_policy as _diff_policy
from . import get_policy as _get_policy
from . import get_policy_schema as _get_policy_schema
from . import get_policy_version as _get_policy_version
from . import list_policies as _list_policies
from . import list_policy_templates as _list_policy_templates
from . import list_policy_versions as _list_policy_versions
from . import publish_policy as _publish_policy
from . import render_policy_template as _render_policy_template
from . import roll_back_policy as _roll_back_policy
from . import simulate_policies as _simulate_policies
from . import test_policy as _test_policy
from . import unpublish_policy as _unpublish_policy
from . import update_policy as _update_policy


class PoliciesResource(Resource):
    """Cedar policies: which calls are denied or need approval, by caller, tool and time."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        name: str | Sequence[str] | None = None,
        status: PolicyStatus | Sequence[PolicyStatus] | None = None,
        mode: PolicyMode | Sequence[PolicyMode] | None = None,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: PolicyOrder | None = None,
    ) -> Listing[Policy]:
        """List policies, newest first.

        Needs the permission `policies.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            mode: Only policies with this published mode, or draft mode if unpublished.
            q: Text in name, description or the policy itself.
            include: `ended` shows ended ones too, to callers who may read the audit log.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_policies.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                name=name,
                status=status,
                mode=mode,
                q=q,
                include=include,
                sort=sort,
                cursor=cursor,
            )
        )

    def create(
        self,
        *,
        name: str,
        text: str,
        description: str | None | Unset = UNSET,
        mode: PolicyMode | Unset = UNSET,
        tests: Sequence[PolicyTest | JsonObject] | Unset = UNSET,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Policy:
        """Create a policy draft.

        A draft decides nothing until it is published. With `dry_run` the response is the policy that would
        be
        created.

        Needs the permission `policies.write`.

        Args:
            name: Unique among policies that have not ended, ignoring case.
            text: Exactly one Cedar statement; see `docs/policy-reference.md`.
            description: What it is for.
            mode: `observe`: it decides nothing; audit events name it when it would have changed the decision.
            tests: Expected decisions, checked at every publish.
            dry_run: Return what would change, and change nothing.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return self._send(
            _create_policy.call(
                {
                    "name": name,
                    "text": text,
                    "description": description,
                    "mode": mode,
                    "tests": tests,
                },
                dry_run=dry_run,
                idempotency_key=idempotency_key,
            )
        )

    def get_schema(
        self,
        *,
        tool_id: str | None = None,
    ) -> PolicySchema:
        """Read the Cedar schema of policies.

        The vocabulary as a Cedar schema, for editors and for external checks of policies.

        Needs the permission `policies.read`.

        Args:
            tool_id: The tool for the type of `context.arguments`.
        """
        return self._send(
            _get_policy_schema.call(
                tool_id=tool_id,
            )
        )

    def simulate(
        self,
        *,
        changes: Sequence[SimulatedChange | JsonObject],
        days: int | None | Unset = UNSET,
        since: datetime.datetime | None | Unset = UNSET,
        limit: int | Unset = UNSET,
    ) -> PolicySimulation:
        """Simulate policy changes on recorded calls.

        Decides the newest calls of the span twice: with the published policies, and with the changes.
        Nothing is
        published or called.

        Identities, servers and tools are as they are now; time, client, address and arguments as recorded.
        A call is not
        replayable if a policy reads arguments that were not kept (`keep_arguments` of its server).

        Needs the permission `policies.write`.

        Args:
            changes: The changes, all at once.
            days: Replay the calls of this many days.
            since: Replay the calls since this time, at most 31 days ago; instead of `days`.
            limit: Number of changed calls to list, newest first.
        """
        return self._send(
            _simulate_policies.call(
                {
                    "changes": changes,
                    "days": days,
                    "since": since,
                    "limit": limit,
                },
            )
        )

    def list_templates(
        self,
    ) -> PolicyTemplates:
        """List policy templates.

        Needs the permission `policies.read`.

        """
        return self._send(_list_policy_templates.call())

    def render_template(
        self,
        name: str,
        *,
        parameters: PolicyTemplateParameters | JsonObject,
    ) -> RenderedPolicy:
        """Render a policy template.

        Returns the text of a policy, for `POST /policies`, and stores nothing. Parameters are escaped. A
        missing type of
        an argument is taken from the tool's input schema.

        Needs the permission `policies.read`.

        Args:
            name: The name of the template.
            parameters: Values by parameter name: see the `parameters` of the template.
        """
        return self._send(
            _render_policy_template.call(
                name,
                {
                    "parameters": parameters,
                },
            )
        )

    def get(
        self,
        policy_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> Policy:
        """Read one policy.

        Needs the permission `policies.read`.

        Args:
            policy_id: The id of a policy.
            include: `ended`: also when it has ended; needs `audit.read`.
        """
        return self._send(
            _get_policy.call(
                policy_id,
                include=include,
            )
        )

    def delete(
        self,
        policy_id: str,
        *,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> Policy:
        """End a policy.

        After the response, it decides nothing any more. Its history stays.

        Needs the permission `policies.write`.

        Args:
            policy_id: The id of a policy.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _delete_policy.call(
                policy_id,
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    def update(
        self,
        policy_id: str,
        *,
        name: str | Unset = UNSET,
        description: str | None | Unset = UNSET,
        text: str | Unset = UNSET,
        mode: PolicyMode | Unset = UNSET,
        tests: Sequence[PolicyTest | JsonObject] | Unset = UNSET,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> Policy:
        """Change the draft of a policy.

        The published version keeps deciding until the draft is published.

        Needs the permission `policies.write`.

        Args:
            policy_id: The id of a policy.
            name: Unique among policies that have not ended, ignoring case.
            description: What it is for.
            text: The text of the draft: exactly one Cedar statement.
            mode: `observe`: it decides nothing; audit events name it when it would have changed the decision.
            tests: The tests of the draft.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _update_policy.call(
                policy_id,
                {
                    "name": name,
                    "description": description,
                    "text": text,
                    "mode": mode,
                    "tests": tests,
                },
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    def diff(
        self,
        policy_id: str,
        *,
        from_: str | None = None,
        to: str | None = None,
    ) -> PolicyDiff:
        """Compare two versions of a policy.

        By default the last published version, and the draft.

        Needs the permission `policies.read`.

        Args:
            policy_id: The id of a policy.
            from_: A version's number, or `draft`.
            to: A version's number, or `draft`.
        """
        return self._send(
            _diff_policy.call(
                policy_id,
                from_=from_,
                to=to,
            )
        )

    def publish(
        self,
        policy_id: str,
        *,
        ignore_failed_tests: bool = False,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> PolicyChange:
        """Publish a policy.

        After the response, it decides every new call. Its tests run first, with those of all other
        published policies;
        if one fails, the response is 422 `policy_tests_failed`, and nothing changes.

        Needs the permission `policies.write`.

        Args:
            policy_id: The id of a policy.
            ignore_failed_tests: Publish even if tests fail, in an emergency; their number is audited.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _publish_policy.call(
                policy_id,
                ignore_failed_tests=ignore_failed_tests,
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    def roll_back(
        self,
        policy_id: str,
        *,
        version: int,
        ignore_failed_tests: bool = False,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> PolicyChange:
        """Roll back a policy.

        Publishes its text, mode and tests under a new number, with the usual checks. A draft without
        changes of its own
        follows.

        Needs the permission `policies.write`.

        Args:
            policy_id: The id of a policy.
            version: A version that was published before.
            ignore_failed_tests: Publish even if tests fail, in an emergency; their number is audited.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _roll_back_policy.call(
                policy_id,
                {
                    "version": version,
                },
                ignore_failed_tests=ignore_failed_tests,
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    def test(
        self,
        policy_id: str,
    ) -> PolicyTestReport:
        """Run the tests of a draft.

        Runs with all published policies, and the draft as if it were published. A draft on trial counts as
        enforced.

        Needs the permission `policies.read`.

        Args:
            policy_id: The id of a policy.
        """
        return self._send(
            _test_policy.call(
                policy_id,
            )
        )

    def unpublish(
        self,
        policy_id: str,
        *,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> PolicyChange:
        """Unpublish a policy.

        Its draft and its versions stay, so that it can be published again.

        Needs the permission `policies.write`.

        Args:
            policy_id: The id of a policy.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return self._send(
            _unpublish_policy.call(
                policy_id,
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    def list_versions(
        self,
        policy_id: str,
        *,
        include: Literal["ended"] | None = None,
        page_size: int | None = None,
    ) -> Listing[PolicyVersion]:
        """List the published versions of a policy, newest first.

        Needs the permission `policies.read`.

        Args:
            policy_id: The id of a policy.
            include: `ended`: also when the policy has ended; needs `audit.read`.
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_policy_versions.call(
                policy_id,
                include=include,
                limit=page_size,
                cursor=cursor,
            )
        )

    def get_version(
        self,
        policy_id: str,
        version: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> PolicyVersion:
        """Read one version of a policy.

        Needs the permission `policies.read`.

        Args:
            policy_id: The id of a policy.
            version: Its number.
            include: `ended`: also when it has ended; needs `audit.read`.
        """
        return self._send(
            _get_policy_version.call(
                policy_id,
                version,
                include=include,
            )
        )


class AsyncPoliciesResource(AsyncResource):
    """Cedar policies: which calls are denied or need approval, by caller, tool and time."""

    def list(
        self,
        *,
        page_size: int | None = None,
        created_after: datetime.datetime | None = None,
        created_before: datetime.datetime | None = None,
        name: str | Sequence[str] | None = None,
        status: PolicyStatus | Sequence[PolicyStatus] | None = None,
        mode: PolicyMode | Sequence[PolicyMode] | None = None,
        q: str | None = None,
        include: Literal["ended"] | None = None,
        sort: PolicyOrder | None = None,
    ) -> AsyncListing[Policy]:
        """List policies, newest first.

        Needs the permission `policies.read`.

        Args:
            page_size: How many to fetch at a time, at most 200.
            created_after: Only objects created after this time.
            created_before: Only objects created before this time.
            mode: Only policies with this published mode, or draft mode if unpublished.
            q: Text in name, description or the policy itself.
            include: `ended` shows ended ones too, to callers who may read the audit log.
            sort: The sort order; `-` sorts descending. Newest first by default.
        """
        return self._list(
            lambda cursor: _list_policies.call(
                limit=page_size,
                created_after=created_after,
                created_before=created_before,
                name=name,
                status=status,
                mode=mode,
                q=q,
                include=include,
                sort=sort,
                cursor=cursor,
            )
        )

    async def create(
        self,
        *,
        name: str,
        text: str,
        description: str | None | Unset = UNSET,
        mode: PolicyMode | Unset = UNSET,
        tests: Sequence[PolicyTest | JsonObject] | Unset = UNSET,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Policy:
        """Create a policy draft.

        A draft decides nothing until it is published. With `dry_run` the response is the policy that would
        be
        created.

        Needs the permission `policies.write`.

        Args:
            name: Unique among policies that have not ended, ignoring case.
            text: Exactly one Cedar statement; see `docs/policy-reference.md`.
            description: What it is for.
            mode: `observe`: it decides nothing; audit events name it when it would have changed the decision.
            tests: Expected decisions, checked at every publish.
            dry_run: Return what would change, and change nothing.
            idempotency_key: Made for you, one for each call. Give your own to make repeating the call itself safe.
        """
        return await self._send(
            _create_policy.call(
                {
                    "name": name,
                    "text": text,
                    "description": description,
                    "mode": mode,
                    "tests": tests,
                },
                dry_run=dry_run,
                idempotency_key=idempotency_key,
            )
        )

    async def get_schema(
        self,
        *,
        tool_id: str | None = None,
    ) -> PolicySchema:
        """Read the Cedar schema of policies.

        The vocabulary as a Cedar schema, for editors and for external checks of policies.

        Needs the permission `policies.read`.

        Args:
            tool_id: The tool for the type of `context.arguments`.
        """
        return await self._send(
            _get_policy_schema.call(
                tool_id=tool_id,
            )
        )

    async def simulate(
        self,
        *,
        changes: Sequence[SimulatedChange | JsonObject],
        days: int | None | Unset = UNSET,
        since: datetime.datetime | None | Unset = UNSET,
        limit: int | Unset = UNSET,
    ) -> PolicySimulation:
        """Simulate policy changes on recorded calls.

        Decides the newest calls of the span twice: with the published policies, and with the changes.
        Nothing is
        published or called.

        Identities, servers and tools are as they are now; time, client, address and arguments as recorded.
        A call is not
        replayable if a policy reads arguments that were not kept (`keep_arguments` of its server).

        Needs the permission `policies.write`.

        Args:
            changes: The changes, all at once.
            days: Replay the calls of this many days.
            since: Replay the calls since this time, at most 31 days ago; instead of `days`.
            limit: Number of changed calls to list, newest first.
        """
        return await self._send(
            _simulate_policies.call(
                {
                    "changes": changes,
                    "days": days,
                    "since": since,
                    "limit": limit,
                },
            )
        )

    async def list_templates(
        self,
    ) -> PolicyTemplates:
        """List policy templates.

        Needs the permission `policies.read`.

        """
        return await self._send(_list_policy_templates.call())

    async def render_template(
        self,
        name: str,
        *,
        parameters: PolicyTemplateParameters | JsonObject,
    ) -> RenderedPolicy:
        """Render a policy template.

        Returns the text of a policy, for `POST /policies`, and stores nothing. Parameters are escaped. A
        missing type of
        an argument is taken from the tool's input schema.

        Needs the permission `policies.read`.

        Args:
            name: The name of the template.
            parameters: Values by parameter name: see the `parameters` of the template.
        """
        return await self._send(
            _render_policy_template.call(
                name,
                {
                    "parameters": parameters,
                },
            )
        )

    async def get(
        self,
        policy_id: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> Policy:
        """Read one policy.

        Needs the permission `policies.read`.

        Args:
            policy_id: The id of a policy.
            include: `ended`: also when it has ended; needs `audit.read`.
        """
        return await self._send(
            _get_policy.call(
                policy_id,
                include=include,
            )
        )

    async def delete(
        self,
        policy_id: str,
        *,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> Policy:
        """End a policy.

        After the response, it decides nothing any more. Its history stays.

        Needs the permission `policies.write`.

        Args:
            policy_id: The id of a policy.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _delete_policy.call(
                policy_id,
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    async def update(
        self,
        policy_id: str,
        *,
        name: str | Unset = UNSET,
        description: str | None | Unset = UNSET,
        text: str | Unset = UNSET,
        mode: PolicyMode | Unset = UNSET,
        tests: Sequence[PolicyTest | JsonObject] | Unset = UNSET,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> Policy:
        """Change the draft of a policy.

        The published version keeps deciding until the draft is published.

        Needs the permission `policies.write`.

        Args:
            policy_id: The id of a policy.
            name: Unique among policies that have not ended, ignoring case.
            description: What it is for.
            text: The text of the draft: exactly one Cedar statement.
            mode: `observe`: it decides nothing; audit events name it when it would have changed the decision.
            tests: The tests of the draft.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _update_policy.call(
                policy_id,
                {
                    "name": name,
                    "description": description,
                    "text": text,
                    "mode": mode,
                    "tests": tests,
                },
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    async def diff(
        self,
        policy_id: str,
        *,
        from_: str | None = None,
        to: str | None = None,
    ) -> PolicyDiff:
        """Compare two versions of a policy.

        By default the last published version, and the draft.

        Needs the permission `policies.read`.

        Args:
            policy_id: The id of a policy.
            from_: A version's number, or `draft`.
            to: A version's number, or `draft`.
        """
        return await self._send(
            _diff_policy.call(
                policy_id,
                from_=from_,
                to=to,
            )
        )

    async def publish(
        self,
        policy_id: str,
        *,
        ignore_failed_tests: bool = False,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> PolicyChange:
        """Publish a policy.

        After the response, it decides every new call. Its tests run first, with those of all other
        published policies;
        if one fails, the response is 422 `policy_tests_failed`, and nothing changes.

        Needs the permission `policies.write`.

        Args:
            policy_id: The id of a policy.
            ignore_failed_tests: Publish even if tests fail, in an emergency; their number is audited.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _publish_policy.call(
                policy_id,
                ignore_failed_tests=ignore_failed_tests,
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    async def roll_back(
        self,
        policy_id: str,
        *,
        version: int,
        ignore_failed_tests: bool = False,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> PolicyChange:
        """Roll back a policy.

        Publishes its text, mode and tests under a new number, with the usual checks. A draft without
        changes of its own
        follows.

        Needs the permission `policies.write`.

        Args:
            policy_id: The id of a policy.
            version: A version that was published before.
            ignore_failed_tests: Publish even if tests fail, in an emergency; their number is audited.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _roll_back_policy.call(
                policy_id,
                {
                    "version": version,
                },
                ignore_failed_tests=ignore_failed_tests,
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    async def test(
        self,
        policy_id: str,
    ) -> PolicyTestReport:
        """Run the tests of a draft.

        Runs with all published policies, and the draft as if it were published. A draft on trial counts as
        enforced.

        Needs the permission `policies.read`.

        Args:
            policy_id: The id of a policy.
        """
        return await self._send(
            _test_policy.call(
                policy_id,
            )
        )

    async def unpublish(
        self,
        policy_id: str,
        *,
        dry_run: bool = False,
        if_match: int | str | None = None,
    ) -> PolicyChange:
        """Unpublish a policy.

        Its draft and its versions stay, so that it can be published again.

        Needs the permission `policies.write`.

        Args:
            policy_id: The id of a policy.
            dry_run: Return what would change, and change nothing.
            if_match: The `revision` that you have seen: the change is refused if there is another by now.
        """
        return await self._send(
            _unpublish_policy.call(
                policy_id,
                dry_run=dry_run,
                if_match=if_match,
            )
        )

    def list_versions(
        self,
        policy_id: str,
        *,
        include: Literal["ended"] | None = None,
        page_size: int | None = None,
    ) -> AsyncListing[PolicyVersion]:
        """List the published versions of a policy, newest first.

        Needs the permission `policies.read`.

        Args:
            policy_id: The id of a policy.
            include: `ended`: also when the policy has ended; needs `audit.read`.
            page_size: How many to fetch at a time, at most 200.
        """
        return self._list(
            lambda cursor: _list_policy_versions.call(
                policy_id,
                include=include,
                limit=page_size,
                cursor=cursor,
            )
        )

    async def get_version(
        self,
        policy_id: str,
        version: str,
        *,
        include: Literal["ended"] | None = None,
    ) -> PolicyVersion:
        """Read one version of a policy.

        Needs the permission `policies.read`.

        Args:
            policy_id: The id of a policy.
            version: Its number.
            include: `ended`: also when it has ended; needs `audit.read`.
        """
        return await self._send(
            _get_policy_version.call(
                policy_id,
                version,
                include=include,
            )
        )

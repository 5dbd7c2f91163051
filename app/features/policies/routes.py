"""``/policies``: drafts, versions, publishing, tests, templates and simulations."""

from typing import Annotated, Literal, TypeVar

from fastapi import Path, Query
from pydantic import StringConstraints

from app.access.policy import vocabulary
from app.access.snapshot import CurrentSnapshot
from app.db.change import Change
from app.db.engine import undo
from app.domain.arguments import argument_types
from app.features.policies import schemas, service, simulate, templates
from app.features.policies.service import DRAFT
from app.features.policies.simulate import PolicySimulation, SimulateRequest
from app.features.policies.templates import PolicyTemplateRender, PolicyTemplates, RenderedPolicy
from app.features.servers.service import get_server
from app.features.tools.service import get_tool
from app.http.authorization import Caller, Permission, changes, requires
from app.http.etags import RequiredIfMatch
from app.http.pagination import Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, api_router
from app.lib.ids import PolicyId, ToolId

router = api_router("policies")
CanRead = Annotated[Caller, requires(Permission.POLICIES_READ)]
CanWrite = Annotated[Change, changes(Permission.POLICIES_WRITE)]
DryRun = Annotated[bool, Query(description="Return what would change, and change nothing.")]
IncludeEnded = Annotated[
    Literal["ended"] | None, Query(description="`ended`: also when it has ended; needs `audit.read`.")
]
IgnoreFailedTests = Annotated[
    bool, Query(description="Publish even if tests fail, in an emergency; their number is audited.")
]
VersionNumber = Annotated[
    str,
    StringConstraints(pattern=r"^(draft|[1-9][0-9]{0,8})$"),
    Query(description="A version's number, or `draft`.", examples=["draft"]),
]
Shown = TypeVar("Shown", schemas.PolicyChange, schemas.PolicyView)


async def _answer(session: Session, shown: Shown, *, dry_run: bool) -> Shown:
    if dry_run:
        await undo(session)
    return shown


@router.get("", summary="List policies, newest first")
async def list_policies(
    query: Annotated[schemas.PolicyQuery, Query()], caller: CanRead, session: Session, runtime: CurrentRuntime
) -> Page[schemas.PolicyView]:
    return await service.list_policies(session, caller, query, runtime)


@router.post("", status_code=201, summary="Create a policy draft")
async def create_policy(
    body: schemas.PolicyCreate, change: CanWrite, runtime: CurrentRuntime, dry_run: DryRun = False
) -> schemas.PolicyView:
    """A draft decides nothing until it is published. With `dry_run` the response is the policy that would be
    created."""
    policy = await service.create_policy(change, body)
    shown = await service.show(change.session, runtime, policy)
    return await _answer(change.session, shown, dry_run=dry_run)


@router.get("/templates", dependencies=[requires(Permission.POLICIES_READ)], summary="List policy templates")
async def list_policy_templates() -> PolicyTemplates:
    return PolicyTemplates(items=templates.list_templates())


@router.post(
    "/templates/{name}/render",
    dependencies=[requires(Permission.POLICIES_READ)],
    summary="Render a policy template",
)
async def render_policy_template(
    name: Annotated[str, Path(max_length=100, description="The name of the template.")],
    body: PolicyTemplateRender,
    session: Session,
) -> RenderedPolicy:
    """Returns the text of a policy, for `POST /policies`, and stores nothing. Parameters are escaped. A missing type of
    an argument is taken from the tool's input schema."""
    return RenderedPolicy(text=await templates.render(session, name, body.parameters))


@router.post("/simulate", summary="Simulate policy changes on recorded calls")
async def simulate_policies(
    body: SimulateRequest, change: CanWrite, runtime: CurrentRuntime, snapshot: CurrentSnapshot
) -> PolicySimulation:
    """Decides the newest calls of the span twice: with the published policies, and with the changes. Nothing is
    published or called.

    Identities, servers and tools are as they are now; time, client, address and arguments as recorded. A call is not
    replayable if a policy reads arguments that were not kept (`keep_arguments` of its server).
    """
    return await simulate.simulate(change, runtime, snapshot, body)


@router.get("/schema", responses=problem_responses(404), summary="Read the Cedar schema of policies")
async def get_policy_schema(
    caller: CanRead,
    session: Session,
    tool_id: Annotated[
        ToolId | None, Query(description="The tool for the type of `context.arguments`.")
    ] = None,
) -> schemas.VocabularyView:
    """The vocabulary as a Cedar schema, for editors and for external checks of policies."""
    if tool_id is None:
        return schemas.VocabularyView(version=vocabulary.VERSION, cedar=vocabulary.schema_text(), tool=None)
    tool = await get_tool(session, tool_id)
    server = await get_server(session, caller, tool.server_id)
    cedar = vocabulary.schema_text(argument_types(tool.input_schema))
    return schemas.VocabularyView(version=vocabulary.VERSION, cedar=cedar, tool=f"{server.slug}/{tool.name}")


@router.get("/{policy_id}", summary="Read one policy")
async def get_policy(
    policy_id: PolicyId,
    caller: CanRead,
    session: Session,
    runtime: CurrentRuntime,
    include: IncludeEnded = None,
) -> schemas.PolicyView:
    policy = await service.get_policy(session, caller, policy_id, ended=include is not None)
    return await service.show(session, runtime, policy)


@router.patch("/{policy_id}", responses=problem_responses(409), summary="Change the draft of a policy")
async def update_policy(
    policy_id: PolicyId,
    body: schemas.PolicyUpdate,
    change: CanWrite,
    runtime: CurrentRuntime,
    if_match: RequiredIfMatch,
    *,
    dry_run: DryRun = False,
) -> schemas.PolicyView:
    """The published version keeps deciding until the draft is published."""
    policy = await service.update_policy(change, policy_id, body, if_match)
    shown = await service.show(change.session, runtime, policy)
    return await _answer(change.session, shown, dry_run=dry_run)


@router.delete("/{policy_id}", summary="End a policy")
async def delete_policy(
    policy_id: PolicyId,
    change: CanWrite,
    runtime: CurrentRuntime,
    if_match: RequiredIfMatch,
    dry_run: DryRun = False,
) -> schemas.PolicyView:
    """After the response, it decides nothing any more. Its history stays."""
    policy = await service.end_policy(change, policy_id, if_match)
    shown = await service.show(change.session, runtime, policy)
    return await _answer(change.session, shown, dry_run=dry_run)


@router.get("/{policy_id}/versions", summary="List the published versions of a policy, newest first")
async def list_policy_versions(
    policy_id: PolicyId,
    query: Annotated[schemas.PolicyVersionQuery, Query()],
    caller: CanRead,
    session: Session,
    runtime: CurrentRuntime,
) -> Page[schemas.PolicyVersionView]:
    return await service.list_versions(session, caller, policy_id, query, runtime)


@router.get("/{policy_id}/versions/{version}", summary="Read one version of a policy")
async def get_policy_version(
    policy_id: PolicyId,
    version: Annotated[str, Path(pattern=r"^[1-9][0-9]{0,8}$", description="Its number.")],
    caller: CanRead,
    session: Session,
    include: IncludeEnded = None,
) -> schemas.PolicyVersionView:
    policy = await service.get_policy(session, caller, policy_id, ended=include is not None)
    return schemas.PolicyVersionView.from_row(await service.get_version(session, policy, int(version)))


@router.get("/{policy_id}/diff", summary="Compare two versions of a policy")
async def diff_policy(
    policy_id: PolicyId,
    caller: CanRead,
    session: Session,
    from_: Annotated[VersionNumber | None, Query(alias="from")] = None,
    to: VersionNumber = DRAFT,
) -> schemas.PolicyDiff:
    """By default the last published version, and the draft."""
    return await service.compare(session, caller, policy_id, from_, to)


@router.post("/{policy_id}/publish", summary="Publish a policy")
async def publish_policy(
    policy_id: PolicyId,
    change: CanWrite,
    runtime: CurrentRuntime,
    if_match: RequiredIfMatch,
    *,
    ignore_failed_tests: IgnoreFailedTests = False,
    dry_run: DryRun = False,
) -> schemas.PolicyChange:
    """After the response, it decides every new call. Its tests run first, with those of all other published policies;
    if one fails, the response is 422 `policy_tests_failed`, and nothing changes."""
    shown = await service.publish(change, runtime, policy_id, if_match, ignore_failures=ignore_failed_tests)
    return await _answer(change.session, shown, dry_run=dry_run)


@router.post("/{policy_id}/test", summary="Run the tests of a draft")
async def test_policy(
    policy_id: PolicyId, caller: CanRead, session: Session, runtime: CurrentRuntime
) -> schemas.PolicyTestReport:
    """Runs with all published policies, and the draft as if it were published. A draft on trial counts as enforced."""
    return await service.report_tests(session, caller, policy_id, runtime)


@router.post("/{policy_id}/rollback", summary="Roll back a policy")
async def roll_back_policy(
    policy_id: PolicyId,
    body: schemas.PolicyRollback,
    change: CanWrite,
    runtime: CurrentRuntime,
    if_match: RequiredIfMatch,
    *,
    ignore_failed_tests: IgnoreFailedTests = False,
    dry_run: DryRun = False,
) -> schemas.PolicyChange:
    """Publishes its text, mode and tests under a new number, with the usual checks. A draft without changes of its own
    follows."""
    shown = await service.roll_back(
        change, runtime, policy_id, body.version, if_match, ignore_failures=ignore_failed_tests
    )
    return await _answer(change.session, shown, dry_run=dry_run)


@router.post("/{policy_id}/unpublish", summary="Unpublish a policy")
async def unpublish_policy(
    policy_id: PolicyId,
    change: CanWrite,
    runtime: CurrentRuntime,
    if_match: RequiredIfMatch,
    dry_run: DryRun = False,
) -> schemas.PolicyChange:
    """Its draft and its versions stay, so that it can be published again."""
    shown = await service.unpublish(change, runtime, policy_id, if_match)
    return await _answer(change.session, shown, dry_run=dry_run)

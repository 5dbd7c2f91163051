"""Resources and prompts are reached only with a scope and a live grant that include them."""

from dataclasses import replace
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from app.domain.access import decide
from app.domain.objects import Identity, Part, Token, ToolState
from app.domain.policy import Effect
from app.domain.scopes import ListedScope, Scope
from app.domain.visibility import EVERY_TOOL, visible_parts
from tests.domain.worlds import LATEST, World, at_once, open_worlds, worlds

any_world = st.one_of(worlds(), open_worlds(), open_worlds(bare=True))
parts = st.sampled_from(tuple(Part))


def asked(world: World, part: Part | None) -> World:
    return replace(world, question=replace(world.question, tool=None, arguments=None, part=part))


def effect(world: World, at: float | None = None) -> Effect:
    return decide(world.question, world.context, world.at if at is None else at).effect


def says(scope: Scope, part: Part, world: World) -> bool:
    server = world.question.server
    assert server is not None
    if not isinstance(scope, ListedScope):
        return True
    return any(
        entry.servers.matches(server.id, server.labels) and getattr(entry, part.value)
        for entry in scope.entries
    )


def gives(identity: Identity, part: Part, world: World) -> bool:
    server = world.question.server
    assert server is not None
    return any(
        grant.servers.matches(server.id, server.labels)
        and getattr(grant, part.value)
        and grant.not_before <= world.at < grant.expires_at
        for grant in identity.grants
    )


@given(any_world, parts)
def test_a_part_is_reached_where_the_server_is_and_scope_and_grant_of_every_link_say_so(
    world: World, part: Part
) -> None:
    server_asked, part_asked = asked(world, None), asked(world, part)
    assume(effect(server_asked) is not Effect.DENY)
    reached = all(
        says(link.scope, part, world) and gives(link.identity, part, world)
        for link in world.question.token.chain()
    )
    assert effect(part_asked) is (effect(server_asked) if reached else Effect.DENY)


@given(any_world, parts)
def test_no_part_is_reached_of_a_server_that_is_not(world: World, part: Part) -> None:
    assume(effect(asked(world, None)) is Effect.DENY)
    assert effect(asked(world, part)) is Effect.DENY


@given(any_world, parts)
def test_a_grant_without_the_part_never_gives_it(world: World, part: Part) -> None:
    def without(token: Token) -> Token:
        changes: dict[str, Any] = {part.value: False}
        grants = tuple(replace(grant, **changes) for grant in token.identity.grants)
        identity = replace(token.identity, grants=grants)
        return replace(token, identity=identity, parent=token.parent and without(token.parent))

    question = replace(world.question, token=without(world.question.token))
    assert effect(asked(replace(world, question=question), part)) is Effect.DENY


@given(any_world)
def test_the_visible_parts_are_those_not_denied_all_through_the_span(world: World) -> None:
    server_asked = asked(world, None)
    decision, seen = at_once(visible_parts(server_asked.question, world.context, world.at))
    assert decision.allowed is (effect(server_asked) is not Effect.DENY)
    for moment in (number / 2 for number in range(2 * LATEST + 2)):
        if decision.valid_from <= moment < decision.valid_until:
            expected = {part.value for part in Part if effect(asked(world, part), moment) is not Effect.DENY}
            if not any(hidden(world, tool, moment) for tool in approved(world)):
                expected.add(EVERY_TOOL)
            assert seen == (expected if decision.allowed else set())


def approved(world: World) -> list[str]:
    server = world.question.server
    tools = {} if server is None else server.tools
    return [name for name, tool in tools.items() if tool.state is ToolState.ACTIVE]


def hidden(world: World, tool: str, moment: float) -> bool:
    question = replace(world.question, tool=tool, part=None, arguments=None)
    return decide(question, world.context, moment).effect is Effect.DENY

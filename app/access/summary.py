"""An explanation in words, made of what was considered: what is missing, in the order of asking, and what to do."""

from app.access.explain import Explanation
from app.access.meanings import Meaning, meaning_of
from app.domain.policy import Effect

_RIGHTS = frozenset({"outside_scope", "no_grant"})


def meaning_of_explanation(found: Explanation) -> Meaning:
    """The decision in a sentence or two, with one remedy. Where a scope or a grant is missing, both are looked at, and
    what would be decided once they are there: ``decide`` itself stops at the first."""
    reason = found.decision.reason_code
    if reason not in _RIGHTS:
        return meaning_of(reason)
    says, steps = [], []
    outside = [index for index, link in enumerate(found.links) if not link.in_scope]
    if found.lacking:
        steps.append("Make a grant that gives it")
    if outside:
        whose = "the token" if outside[0] == 0 else "a token that it was derived from"
        which = f"the scope of {whose} does not reach it"
        says.append(f"A grant reaches it, but {which}." if not found.lacking else f"{which.capitalize()}.")
        steps.append("issue a new token with a scope that reaches it, since a token cannot be widened")
    if found.lacking:
        own = found.question.token.identity.id in found.lacking
        whose = "the identity or its groups" if own else "the identity of a token that it was derived from"
        says.append(f"No live grant of {whose} reaches it.")
    remedy = ", then ".join(steps)
    return _with_rest(found, says, f"{remedy[0].upper()}{remedy[1:]}.")


def _with_rest(found: Explanation, says: list[str], remedy: str) -> Meaning:
    then = found.once_given
    if then.effect is Effect.ALLOW:
        return Meaning(" ".join(says), remedy)
    rest = meaning_of(then.reason_code)
    if then.effect is Effect.REQUIRE_APPROVAL:
        return Meaning(" ".join(says), f"{remedy} Each call then waits for an approval.")
    says.append(f"Once that is done, it is still denied: {rest.says[0].lower()}{rest.says[1:]}")
    return Meaning(" ".join(says), f"First: {rest.remedy} {remedy}" if rest.remedy else remedy)

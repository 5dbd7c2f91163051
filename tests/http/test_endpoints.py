"""What an endpoint's signature has to say: mistakes end the start, before a response could show or keep too much."""

from inspect import Parameter, Signature
from typing import Any, ClassVar

import pytest
from pydantic import Field

from app.db.change import Change
from app.http.endpoints import complete, revised_field
from app.http.idempotency import Revealed
from app.http.schemas import Strict


class Thing(Strict):
    id: str
    revision: int


class Hidden(Revealed):
    id: str
    revision: int
    secret: str | None = Field(json_schema_extra={"format": "password", "examples": ["sgt_..."]})


class Careless(Strict):
    id: str
    revision: int
    secret: str = Field(json_schema_extra={"format": "password"})


class Within(Strict):
    thing: Thing
    part: Careless | None


class Pair(Strict):
    first: Thing
    second: Thing


class NamedPair(Pair):
    REVISED: ClassVar = "second"


def endpoint(answer: Any, **parameters: Any) -> Any:
    """An endpoint with this signature."""

    async def create(**_: Any) -> None: ...

    kinds = [Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind) for name, kind in parameters.items()]
    create.__signature__ = Signature(kinds, return_annotation=answer)  # type: ignore[attr-defined]
    return create


@pytest.mark.parametrize("answer", [Careless, Within])
def test_a_response_that_would_be_kept_with_its_secret_ends_the_start(answer: Any) -> None:
    with pytest.raises(TypeError, match=r"has to be Revealed|has a secret"):
        complete(endpoint(answer, change=Change, response=Any), creates=True)


def test_a_secret_is_not_in_what_is_kept() -> None:
    complete(endpoint(Hidden, change=Change), creates=True)
    kept = Hidden(id="a", revision=1, secret="s").without_secret()
    assert (kept.secret, kept.secret_available) == (None, False)


def test_what_creates_takes_a_change_and_has_a_location() -> None:
    with pytest.raises(TypeError, match="change"):
        complete(endpoint(Thing), creates=True)
    with pytest.raises(TypeError, match="response"):
        complete(endpoint(None, change=Change), creates=True)


def test_a_response_about_several_objects_says_whose_revision_is_its_tag() -> None:
    assert (revised_field(Thing), revised_field(None), revised_field(NamedPair)) == ("", None, "second")
    with pytest.raises(TypeError, match="several"):
        revised_field(Pair)

"""Forms that people send: read once, checked by the API's own models, and shown again with what is wrong."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, get_origin
from urllib.parse import parse_qsl, urlencode

from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.adapters.console.page import path_of_page
from app.adapters.console.places import in_words
from app.db.change import savepoint
from app.domain.errors import Conflict, DomainError, FieldError, Invalid, Malformed, PreconditionFailed
from app.http.etags import Precondition
from app.http.problems import STATUS
from app.http.transaction import Session

LARGEST = 64 * 1024
"""The bytes that a form has at most, where nothing else is said."""
_FORM = "application/x-www-form-urlencoded"
Model = TypeVar("Model", bound=BaseModel)


class Form:
    """The fields that were sent; whoever reads one that was sent twice gets ``Malformed``."""

    def __init__(self, pairs: Sequence[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def text(self, name: str, default: str = "") -> str:
        """A field's text without the space around it. Raises ``Malformed``."""
        values = self._values.get(name, [])
        if len(values) > 1:
            raise Malformed("The form cannot be read: a field was sent twice.")
        return values[0].strip() if values else default

    def raw(self, name: str) -> str:
        """A field's text as it was typed, lines ending in LF. Raises ``Malformed``."""
        values = self._values.get(name, [])
        if len(values) > 1:
            raise Malformed("The form cannot be read: a field was sent twice.")
        return values[0].replace("\r\n", "\n") if values else ""

    def texts(self, name: str) -> list[str]:
        """What was chosen of a list, in order."""
        return list(self._values.get(name, []))

    def flag(self, name: str) -> bool:
        """Whether a box was ticked."""
        return bool(self._values.get(name))

    def take(self, name: str) -> str:
        """A field's text, which is the form's no more. Raises ``Malformed``."""
        text = self.text(name)
        self._values.pop(name, None)
        return text

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """All of them, as they were sent."""
        return [(name, value) for name, values in self._values.items() for value in values]


def read_form(request: Request, body: bytes, largest: int) -> Form:
    """The fields of a form of at most ``largest`` bytes. Raises ``Malformed``."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise Malformed(f"Send the form as {_FORM}.")
    if len(body) > largest:
        raise Malformed(f"The form is larger than {largest} bytes.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict"
        )
    except ValueError:
        raise Malformed("The form cannot be read.") from None
    if any("\x00" in text for pair in pairs for text in pair):
        raise Malformed("The form cannot be read.")
    return Form(pairs)


def whole_number(text: str) -> int | str:
    """What was typed as a number, for a model that takes nothing else; the text where it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


class Problems:
    """What is wrong with a form: ``status`` to answer with, words for the whole, and words for each field.

    Fields are named by JSON pointers into the API's own model (``/expires_at``), as the API names them.
    """

    def __init__(self, error: DomainError | None = None) -> None:
        self.status = 200
        self.summary = ""
        self.code = ""
        self.errors = () if error is None else error.errors
        self._at: dict[str, list[str]] = {}
        if error is not None:
            self.status = next(status for kind, status, _ in STATUS if isinstance(error, kind))
            self.code = error.code
            self.summary = error.detail
            for one in error.errors:
                self._at.setdefault(one.pointer, []).append(one.detail)

    def __bool__(self) -> bool:
        return self.status != 200

    def at(self, pointer: str) -> list[str]:
        """What is wrong at a field and within it."""
        within = f"{pointer}/"
        return [
            text
            for place, texts in self._at.items()
            if place == pointer or place.startswith(within)
            for text in texts
        ]

    @property
    def everywhere(self) -> list[tuple[str, str]]:
        """Each place, in words, with what is wrong there: it may be one that the page has no field for."""
        return [(in_words(place), text) for place, texts in self._at.items() for text in texts]


def validated(model: type[Model], values: Mapping[str, Any]) -> Model:
    """What was typed, as the API's own model takes it. Raises ``Invalid`` with an error for each field."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        found = [
            FieldError("".join(f"/{part}" for part in one["loc"]), one["type"], _sentence(one["msg"]))
            for one in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise Invalid("Some of it cannot be taken: see below.", errors=found) from None


def read_query(model: type[Model], request: Request, **more: Any) -> Model:
    """The filters of an address that ``model`` has, without the empty ones, and ``more``. Raises ``Malformed``."""
    values: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        field = model.model_fields.get(name)
        if field is None or not value.strip():
            continue
        if get_origin(field.annotation) is list:
            values.setdefault(name, []).append(value)
        elif values.setdefault(name, value) != value:
            raise Malformed(f"The address asks for two values of {name}.")
    try:
        return model.model_validate(values | more)
    except ValidationError:
        raise Malformed("The address asks for something that this page cannot read.") from None


def next_page(request: Request, cursor: str | None) -> str | None:
    """The address of the page of a list that follows, with the filters of this one; None when there is none."""
    if cursor is None:
        return None
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor" and value]
    return f"{path_of_page(request)}?{urlencode([*kept, ('cursor', cursor)])}"


def first_page(request: Request) -> str | None:
    """The address of a list's first page, with the filters of this one; None when this is it."""
    if not request.query_params.get("cursor"):
        return None
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor" and value]
    path = path_of_page(request)
    return f"{path}?{urlencode(kept)}" if kept else path


class AsShown(Precondition):
    """The revision that a page showed, which its form carries along: nobody overwrites what they have not seen."""

    @classmethod
    def by(cls, form: Form) -> "AsShown":
        """What the form says."""
        return cls(f'"{form.text("revision")}"')

    def check(self, revision: int | str) -> None:
        """Raise ``PreconditionFailed``, in words for people."""
        try:
            Precondition.check(self, revision)
        except PreconditionFailed:
            raise PreconditionFailed(
                "It was changed since this page was shown, perhaps by somebody else: look at it again first."
            ) from None


class Attempt:
    """How a change went: ``problems`` is empty when it was made."""

    def __init__(self) -> None:
        self.problems = Problems()


@asynccontextmanager
async def attempted(session: Session) -> AsyncIterator[Attempt]:
    """Do what a form asks for. What it refuses is undone and told by ``problems``, for the form to be shown again."""
    attempt = Attempt()
    try:
        async with savepoint(session):
            yield attempt
    except (Malformed, Invalid, Conflict, PreconditionFailed) as error:
        attempt.problems = Problems(error)


def _sentence(text: str) -> str:
    text = text.removeprefix("Value error, ")
    return text if text.endswith(".") else f"{text}."

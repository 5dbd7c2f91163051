"""HTML forms: parsed once, validated by the API's models, and shown again with their errors."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from types import MappingProxyType
from typing import Any, TypeVar, get_origin
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.adapters.console.display import label_of_pointer
from app.adapters.console.page import path_of_page, with_query
from app.domain.errors import DomainError, FieldError, Invalid, Malformed, PreconditionFailed
from app.http.etags import Precondition
from app.http.problems import STATUS
from app.lib.ids import parse_id

MAX_FORM_BYTES = 64 * 1024
"""The default maximum size of a form."""
_FORM = "application/x-www-form-urlencoded"
Model = TypeVar("Model", bound=BaseModel)


class Form:
    """The fields of a submitted form. Reading a field that was sent twice raises ``Malformed``."""

    def __init__(self, pairs: Sequence[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def text(self, name: str, default: str = "") -> str:
        """A field's text, stripped; ``default`` if it was not sent. Raises ``Malformed``."""
        return self.raw(name, default).strip()

    def raw(self, name: str, default: str = "") -> str:
        """A field's text as typed, with LF line ends. Raises ``Malformed``."""
        values = self._values.get(name) or [default]
        if len(values) > 1:
            raise Malformed("The form cannot be read: a field was sent twice.")
        return values[0].replace("\r\n", "\n")

    def texts(self, name: str) -> list[str]:
        """All values of a field, in order."""
        return list(self._values.get(name, []))

    def object_id(self, name: str, prefix: str) -> UUID:
        """The id of an object of a kind in a field. Raises ``Malformed``."""
        try:
            return parse_id(prefix, self.text(name))
        except ValueError:
            raise Malformed("The address or form names an invalid object.") from None

    def optional_id(self, name: str, prefix: str) -> UUID | None:
        """The id in a field; None if it is empty. Raises ``Malformed``."""
        return self.object_id(name, prefix) if self.text(name) else None

    def flag(self, name: str) -> bool:
        """Whether a checkbox was checked."""
        return bool(self._values.get(name))

    def values(self, required: str, *optional: str) -> dict[str, Any]:
        """Fields by their names in the API; an empty one is null, except the required one. Raises ``Malformed``."""
        return {required: self.text(required)} | {name: self.text(name) or None for name in optional}

    def take(self, name: str) -> str:
        """Remove a field and return its text. Raises ``Malformed``."""
        text = self.text(name)
        self._values.pop(name, None)
        return text

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """All fields, as they were sent."""
        return [(name, value) for name, values in self._values.items() for value in values]


def read_form(request: Request, body: bytes, max_bytes: int) -> Form:
    """Parse a form of at most ``max_bytes`` bytes. Raises ``Malformed``."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise Malformed(f"Send the form as {_FORM}.")
    if len(body) > max_bytes:
        raise Malformed(f"The form is larger than {max_bytes} bytes.")
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
    """The typed number as an integer; the text itself if it is not a number, for the model to reject."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def parse_pairs(text: str, pointer: str, wanted: str) -> dict[str, str]:
    """Parse lines such as ``env=prod``, each name once. Raises ``Invalid`` with the message ``wanted``."""
    pairs: dict[str, str] = {}
    for line in filter(str.strip, text.split("\n")):
        name, separator, value = (part.strip() for part in line.partition("="))
        if not separator or not name or name in pairs:
            raise Invalid.field(pointer, "not_a_pair", wanted)
        pairs[name] = value
    return pairs


def format_pairs(pairs: Mapping[str, str]) -> str:
    """The text that ``parse_pairs`` reads."""
    return "\n".join(f"{name}={value}" for name, value in sorted(pairs.items()))


def end_of_day(text: str, pointer: str) -> datetime:
    """The last minute of a typed day, in UTC. Raises ``Invalid`` for the field at ``pointer``."""
    try:
        return datetime.combine(date.fromisoformat(text), time(23, 59), UTC)
    except ValueError:
        raise Invalid.field(pointer, "date", "Choose a day.") from None


class Problems:
    """The errors of a form: the response's ``status``, a summary, and messages for each field.

    Fields are named by JSON pointers into the API's model (``/expires_at``).
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
        """The messages for a field and the fields within it."""
        within = f"{pointer}/"
        return [
            text
            for place, texts in self._at.items()
            if place == pointer or place.startswith(within)
            for text in texts
        ]

    @property
    def everywhere(self) -> list[tuple[str, str]]:
        """Each field's label with its message, including fields that the page does not show."""
        return [(label_of_pointer(place), text) for place, texts in self._at.items() for text in texts]


def validate(
    model: type[Model], values: Mapping[str, Any], fields: Mapping[str, str] = MappingProxyType({})
) -> Model:
    """Validate values by the API's model. Raises ``Invalid`` with an error for each field.

    ``fields`` has the pointers of the form's fields whose names differ from the model's.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        errors = []
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            pointer = "".join(f"/{part}" for part in one["loc"])
            said = one["msg"].removeprefix("Value error, ").removesuffix(".")
            errors.append(FieldError(fields.get(pointer, pointer), one["type"], f"{said}."))
        raise Invalid("Some fields are invalid: see below.", errors=errors) from None


def read_query(model: type[Model], request: Request, **more: Any) -> Model:
    """Read the non-empty query parameters that ``model`` has, and ``more``. Raises ``Malformed``."""
    values: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        field = model.model_fields.get(name)
        if field is None or not value.strip():
            continue
        if get_origin(field.annotation) is list:
            values.setdefault(name, []).append(value)
        elif values.setdefault(name, value) != value:
            raise Malformed(f"The address has two values of {name}.")
    try:
        return model.model_validate(values | more)
    except ValidationError:
        raise Malformed("The address has an invalid filter. Open the page again.") from None


def pager(request: Request, cursor: str | None) -> dict[str, str | None]:
    """The addresses of a list's next page and first page with the same filters; None on that page."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor" and value]
    path = path_of_page(request)
    return {
        "more": None if cursor is None else with_query(path, [*kept, ("cursor", cursor)]),
        "first": with_query(path, kept) if request.query_params.get("cursor") else None,
    }


class ShownRevision(Precondition):
    """The revision that a page showed; its form sends it back so that no unseen change is overwritten."""

    def check(self, revision: int | str) -> None:
        """Raise ``PreconditionFailed`` with a message for the page."""
        try:
            Precondition.check(self, revision)
        except PreconditionFailed:
            raise PreconditionFailed(
                "It was changed since this page was shown. Review the current version and try again."
            ) from None

"""Entity tags of single objects (RFC 9110 section 8.8.3): the revision, quoted, always strong."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response

from app.domain.errors import PreconditionFailed, PreconditionRequired

# For the contract, on routes whose responses have an ETag but no field ``revision``.
TAGGED: dict[str, Any] = {"headers": {"ETag": {"$ref": "#/components/headers/ETag"}}}

_TAG = re.compile(r'(W/)?"([^"]*)"')


def set_etag(response: Response, revision: int | str) -> None:
    """Set the ETag to the revision of the returned object."""
    response.headers["ETag"] = f'"{revision}"'


@dataclass(frozen=True, slots=True)
class Precondition:
    """The ``If-Match`` of a request; ``None`` if it has none.

    Strong comparison (RFC 9110 section 13.1.1): a weak tag never matches, ``*`` always does.
    """

    asked: str | None
    is_missing: bool = False
    """It is required, and was not sent."""

    def demand(self) -> None:
        """Raise ``PreconditionRequired`` if it is required and missing."""
        if self.is_missing:
            raise PreconditionRequired(
                "This change needs If-Match: read the object, and send its ETag, so that you overwrite only what you "
                "saw."
            )

    @classmethod
    def of(cls, request: Request) -> "Precondition":
        """Read the header of a request; several lines are one list."""
        values = request.headers.getlist("if-match")
        return cls(", ".join(values).strip() if values else None)

    def check(self, revision: int | str) -> None:
        """Raise ``PreconditionFailed`` unless the revision matches.

        Call it with the row locked; otherwise two writers with the same tag could both pass.
        """
        self.demand()
        if self.asked is None or self.asked == "*":
            return
        strong = {tag for weak, tag in _TAG.findall(self.asked) if not weak}
        if str(revision) not in strong:
            raise PreconditionFailed(
                "If-Match names another revision than the current one: read the object again and repeat the "
                "change."
            )

    def check_none(self) -> None:
        """Raise ``PreconditionFailed`` if the header is sent for an object that does not exist yet."""
        if self.asked is not None:
            raise PreconditionFailed(
                "If-Match asks for an object that is not there: leave the header out to make it."
            )


def _if_match(description: str, *, is_required: bool) -> Any:
    """The dependency that reads the header, whose parameter documents it."""

    async def read(
        request: Request,
        if_match: Annotated[str | None, Header(description=description, examples=['"3"'])] = None,
    ) -> Precondition:
        # Repeated headers are only visible in the request.
        return Precondition(None, is_missing=is_required) if if_match is None else Precondition.of(request)

    return Depends(read)


IfMatch = Annotated[
    Precondition,
    _if_match(
        "The `ETag` of the object as you know it: if it has changed since, nothing is done and the answer is 412.",
        is_required=False,
    ),
]
RequiredIfMatch = Annotated[
    Precondition,
    _if_match(
        "The `ETag` of the object as you know it. Needed: without it the answer is 428; if the object has changed "
        "since, nothing is done and the answer is 412.",
        is_required=True,
    ),
]

"""If-Match is compared strongly with the current revision."""

import pytest
from fastapi import Request, Response

from app.domain.errors import PreconditionFailed
from app.http.etags import Precondition, set_etag


def request(*values: str) -> Request:
    headers = [(b"if-match", value.encode()) for value in values]
    return Request({"type": "http", "method": "PATCH", "headers": headers})


@pytest.mark.parametrize("values", [(), ('"3"',), ("*",), ('"1", "3"',), ('"1"', '"3"'), (' "3" ',)])
def test_the_current_revision_passes(values: tuple[str, ...]) -> None:
    Precondition.of(request(*values)).check(3)


@pytest.mark.parametrize("value", ['"2"', 'W/"3"', "3", "", '"33"', '"*"', "'3'", '"3'])
def test_anything_else_does_not(value: str) -> None:
    with pytest.raises(PreconditionFailed):
        Precondition.of(request(value)).check(3)


def test_the_tag_that_is_set_is_the_one_that_passes() -> None:
    response = Response()
    set_etag(response, 7)
    Precondition.of(request(response.headers["etag"])).check(7)

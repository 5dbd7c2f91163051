"""Parsing of responses: the model of a success, the exception of a problem."""

import email.utils
import time
from typing import Any, TypeVar

import httpx

from scopegate_client._call import Call
from scopegate_client.errors import ApiError, FieldError, SignInFailed, UnexpectedAnswer, kind_of

T = TypeVar("T")


def read_answer(call: Call[T], response: httpx.Response) -> T:
    """Parse the response of a successful call."""
    if response.status_code == 204:
        return call.read(None)
    body = _json(response)
    try:
        return call.read(body)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnexpectedAnswer(
            f"The response to {call.operation} has another form than this scopegate-client expects "
            f"({type(error).__name__}: {error}): install the version of {response.url.host}."
        ) from error


def read_problem(response: httpx.Response) -> ApiError | UnexpectedAnswer:
    """Build the exception for a response with a status of 300 and above."""
    status = response.status_code
    if status < 400:
        return UnexpectedAnswer(
            f"{response.url} answered {status} and points to {response.headers.get('Location', 'nowhere')}: "
            "give the address that serves Scopegate itself."
        )
    problem = _problem(response)
    request_id = problem.get("request_id") or response.headers.get("X-Request-ID")
    return kind_of(status)(
        str(problem.get("detail") or f"{response.url.host} answered {status} {response.reason_phrase}."),
        status=status,
        code=str(problem.get("code") or f"http_{status}"),
        request_id=str(request_id) if request_id else None,
        errors=_field_errors(problem.get("errors")),
        retry_after=retry_after(response),
    )


def read_refusal(response: httpx.Response, client_id: str) -> Exception:
    """Build the exception for a failed sign-in, whose error has the form of OAuth (RFC 6749, section 5.2)."""
    body = _problem(response)
    code = body.get("error")
    if response.status_code not in {400, 401, 403} or not isinstance(code, str):
        return read_problem(response)
    said = body.get("error_description") or "no reason given"
    return SignInFailed(f"Signing in as {client_id} was refused: {said} ({code})", code=code)


def retry_after(response: httpx.Response) -> float | None:
    """The seconds of the ``Retry-After`` header (RFC 9110, section 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _problem(response: httpx.Response) -> dict[str, Any]:
    """The JSON object in the response, or an empty one."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        kind = response.headers.get("Content-Type", "no media type")
        raise UnexpectedAnswer(
            f"{response.url} responded with {kind} instead of JSON: is that the address of Scopegate?"
        ) from None


def _field_errors(errors: Any) -> list[FieldError]:
    if not isinstance(errors, list):
        return []
    return [
        FieldError(str(error.get("pointer", "")), str(error.get("code", "")), str(error.get("detail", "")))
        for error in errors
        if isinstance(error, dict)
    ]

"""What an endpoint's signature implies: its ``ETag`` and ``Location``, ``Idempotency-Key``, and the response 428."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from fastapi import Request, Response

from app.http.etags import RequiredIfMatch, set_etag
from app.http.idempotency import IdempotencyKey, check_stored, respond_once

_BY_NAME = inspect.Parameter.KEYWORD_ONLY
_ADDED = {"request": Request, "response": Response}


def requires_if_match(endpoint: Callable[..., Any]) -> bool:
    """Whether an endpoint responds 428 without ``If-Match``."""
    parameters = inspect.signature(endpoint).parameters.values()
    return any(parameter.annotation is RequiredIfMatch for parameter in parameters)


def complete(endpoint: Callable[..., Any], *, creates: bool) -> Callable[..., Any]:
    """Wrap an endpoint so that its responses have the headers that follow from its signature.

    A response with a field ``revision``, or about an object with one, gets the ``ETag``. ``creates``: the endpoint
    responds 201 with the ``Location`` below its path, and supports ``Idempotency-Key``; it has a parameter ``change``,
    so that a repeated request needs the permission as well. Headers that an endpoint sets itself stay.
    """
    signature = inspect.signature(endpoint)
    parameters = dict(signature.parameters)
    shown_field = revised_field(signature.return_annotation)
    demands = requires_if_match(endpoint)
    if not creates and not demands and shown_field is None:
        return endpoint
    if creates:
        _check_creating(endpoint, shown_field)
    own = parameters.keys() & _ADDED.keys()

    @wraps(endpoint)
    async def answer(
        *, request: Request, response: Response, idempotency_key: str | None = None, **arguments: Any
    ) -> Any:
        if demands:
            # After the types are checked, since a required header would be a 422.
            arguments["if_match"].demand()
        added = {"request": request, "response": response}

        async def run() -> Any:
            shown = await endpoint(**arguments, **{name: added[name] for name in own})
            if shown_field is not None:
                revised = getattr(shown, shown_field) if shown_field else shown
                _set_headers(request, response, revised, creates=creates)
            return shown

        if idempotency_key is None:
            return await run()
        return await respond_once(run, arguments["change"], request, response)

    for name, annotation in _ADDED.items():
        parameters.setdefault(name, inspect.Parameter(name, _BY_NAME, annotation=annotation))
    if creates:
        parameters["idempotency_key"] = inspect.Parameter(
            "idempotency_key", _BY_NAME, default=None, annotation=IdempotencyKey
        )
    answer.__signature__ = signature.replace(parameters=list(parameters.values()))  # type: ignore[attr-defined]
    return answer


def _check_creating(endpoint: Callable[..., Any], shown_field: str | None) -> None:
    """Raise ``TypeError`` for an endpoint that creates and whose signature lacks what its response needs."""
    signature = inspect.signature(endpoint)
    needed = {"change"} if shown_field is not None else {"change", "response"}
    if not needed <= signature.parameters.keys():
        raise TypeError(
            f"{endpoint.__name__} creates, so it needs the parameters {', '.join(sorted(needed))}"
        )
    check_stored(signature.return_annotation)


def revised_field(model: Any) -> str | None:
    """The field of a response whose object has a revision; empty if the response has it itself; ``None`` without one.

    A response with several such objects names its own in ``REVISED``; otherwise this raises ``TypeError``.
    """
    fields = getattr(model, "model_fields", {})
    if "revision" in fields:
        return ""
    named = [
        name for name, field in fields.items() if "revision" in getattr(field.annotation, "model_fields", ())
    ]
    if len(named) > 1:
        if not hasattr(model, "REVISED"):
            raise TypeError(
                f"{model.__name__} shows several objects and does not say whose revision is the ETag"
            )
        return str(model.REVISED)
    return named[0] if named else None


def _set_headers(request: Request, response: Response, revised: Any, *, creates: bool) -> None:
    if "etag" not in response.headers:
        set_etag(response, revised.revision)
    if creates and "location" not in response.headers:
        shown_id = revised.model_dump(mode="json", include={"id"})["id"]
        response.headers["Location"] = f"{request.url.path}/{shown_id}"

"""Query parameters that are given once: of two values, one would be dropped without a word."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, get_origin

from fastapi import Request
from pydantic import BaseModel

from app.domain.errors import FieldError, Invalid
from app.http.problems import MOST_ERRORS


def repeatable_names(parameters: Iterable[Any]) -> frozenset[str]:
    """The names among a route's query parameters that may be given several times: those of lists."""
    types: dict[str, Any] = {}
    for parameter in parameters:
        annotation = parameter.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            types |= {name: field.annotation for name, field in annotation.model_fields.items()}
        else:
            types[parameter.name] = annotation
    return frozenset(name for name, annotation in types.items() if get_origin(annotation) is list)


def check_repeats(request: Request, repeatable: frozenset[str]) -> None:
    """Raise ``Invalid`` for a parameter that is given several times and cannot be."""
    # Before anybody is known: thousands of parameters must cost no more than reading them.
    given = Counter(name for name, _ in request.query_params.multi_items())
    repeated = sorted({name for name, times in given.items() if times > 1} - repeatable)[:MOST_ERRORS]
    if repeated:
        errors = [FieldError(f"?{name}", "repeated", "Give this once.") for name in repeated]
        raise Invalid("These parameters may be given once: " + ", ".join(repeated) + ".", errors=errors)

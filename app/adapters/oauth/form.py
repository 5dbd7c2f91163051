"""Reading a token request: one form, one way of naming the client (RFC 6749 sections 2.3.1 and 3.2)."""

import base64
import binascii
from urllib.parse import parse_qsl, unquote_plus

from fastapi import Request

_LARGEST = 16 * 1024
_FORM = "application/x-www-form-urlencoded"
_PARAMETERS = {"grant_type", "client_id", "client_secret", "scope"}


class OAuthError(Exception):
    """An answer of RFC 6749 section 5.2. The description never repeats what was sent."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.description = description
        self.status = status


def read_form(request: Request, body: bytes) -> dict[str, str]:
    """The parameters of the body, each given once. Raises ``OAuthError`` (``invalid_request``)."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise OAuthError("invalid_request", f"Send the parameters as {_FORM}.")
    if len(body) > _LARGEST:
        raise OAuthError("invalid_request", f"The form is larger than {_LARGEST} bytes.")
    if _PARAMETERS & request.query_params.keys():
        raise OAuthError("invalid_request", "Send the parameters in the body, never in the URL.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict"
        )
    except ValueError:
        raise OAuthError("invalid_request", "The body is not a well-formed form in UTF-8.") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthError("invalid_request", "Each parameter may be given once.")
    if any("\x00" in text for pair in pairs for text in pair):
        raise OAuthError("invalid_request", "NUL characters are not accepted.")
    return form


def read_client(request: Request, form: dict[str, str]) -> tuple[str, str]:
    """Client id and secret, from HTTP Basic or from the body.

    Raises ``OAuthError``: ``invalid_request`` for both at once, ``invalid_client`` (401) for neither.
    """
    headers = request.headers.getlist("authorization")
    if len(headers) > 1:
        raise OAuthError("invalid_request", "Send one Authorization header.")
    if headers:
        client_id, secret = _read_basic(headers[0])
        if "client_secret" in form or form.get("client_id", client_id) != client_id:
            raise OAuthError("invalid_request", "Name the client in HTTP Basic or in the body, not in both.")
        return client_id, secret
    if "client_id" not in form or "client_secret" not in form:
        raise OAuthError(
            "invalid_client", "Send client_id and client_secret, in HTTP Basic or the body.", 401
        )
    return form["client_id"], form["client_secret"]


def _read_basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    refused = OAuthError("invalid_client", "The Authorization header does not hold a valid client.", 401)
    if scheme.lower() != "basic":
        raise refused
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
        client_id, separator, secret = text.partition(":")
        if not separator:
            raise refused
        return unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict")
    except (binascii.Error, ValueError):
        raise refused from None

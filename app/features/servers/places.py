"""The location of a server: a URL, or a command on the gateway's host. Validation and digests."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.errors import FieldError, Invalid
from app.http.runtime import Runtime
from app.http.service_address import OwnAddresses
from app.lib import strict_json
from app.outbound.http import AddressPolicy, ForbiddenUrl
from app.outbound.stdio import AllowedCommands

_OF = {"streamable_http": ("url",), "stdio": ("command", "args", "env_names")}


@dataclass(frozen=True, slots=True)
class PlaceRules:
    """The operator's limits for the location of servers."""

    addresses: AddressPolicy
    commands: AllowedCommands
    own: OwnAddresses
    """The gateway's own origin, which no server may have."""

    @classmethod
    def of(cls, runtime: Runtime) -> "PlaceRules":
        """The rules of this worker."""
        return cls(runtime.outbound.policy, runtime.commands, runtime.own_addresses)


def digest_of(words: Sequence[str]) -> str:
    """The digest for the audit log, since arguments may contain a key."""
    return hashlib.sha256(strict_json.dumps(list(words))).hexdigest()[:16]


def check_place(rules: PlaceRules, transport: str, fields: dict[str, Any]) -> None:
    """Raise ``Invalid`` for fields of the other transport, and for a forbidden URL or command."""
    other = "stdio" if transport == "streamable_http" else "streamable_http"
    for name in _OF[other]:
        if fields[name] is not None:
            detail = f"{name} belongs to the transport {other}; leave it out."
            raise Invalid.field(f"/{name}", f"not_for_{transport}", detail)
    if transport == "stdio":
        _check_command(rules.commands, fields)
    else:
        _check_url(rules, fields["url"])


def _check_command(allowed: AllowedCommands, fields: dict[str, Any]) -> None:
    if fields["command"] is None:
        raise Invalid.field("/command", "required", "A server with the transport stdio needs a command.")
    if not allowed.allow(fields["command"], fields["args"] or []):
        detail = (
            "This command line may not run on the gateway's host. Its operator allows exact command lines in "
            "SCOPEGATE_STDIO_ALLOWED_COMMANDS."
        )
        raise Invalid(
            detail, code="stdio_not_allowed", errors=[FieldError("/command", "stdio_not_allowed", detail)]
        )


def _check_url(rules: PlaceRules, url: str | None) -> None:
    if url is None:
        raise Invalid.field("/url", "required", "A server with the transport streamable_http needs a url.")
    if rules.own.holds(url):
        detail = "This is the gateway's own address. Give the URL of the server behind it."
        raise Invalid(detail, code="forbidden_url", errors=[FieldError("/url", "forbidden_url", detail)])
    try:
        rules.addresses.check_url(url)
    except ForbiddenUrl as error:
        detail = (
            f"{error.reason[:1].upper()}{error.reason[1:]}. Private addresses need "
            "SCOPEGATE_UPSTREAM_ALLOWED_NETWORKS."
        )
        raise Invalid(
            detail, code="forbidden_url", errors=[FieldError("/url", "forbidden_url", detail)]
        ) from None

"""``scopegate receipt verify``: whether a receipt is unchanged since it was signed, and its content.

It needs the receipt and the public keys, but neither settings nor a database, so that auditors can run it on their
own machines.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from pydantic import ValidationError

from app.cli.errors import CannotStart
from app.crypto.signing import SignatureFault, verify
from app.features.offboarding.receipts import TYPE
from app.features.offboarding.schemas import Receipt
from app.lib import strict_json

KEYS_PATH = "/.well-known/jwks.json"
NOT_GENUINE = 1
_MAX_BYTES = 64 * 1024 * 1024
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def verify_receipt(file: str, keys: str | None, url: str | None) -> list[str]:
    """Describe a genuine receipt, in lines. ``file`` and ``keys`` are paths; ``-`` is the standard input.

    Raises ``CannotStart``: exit code 1 for a receipt that is not genuine, 2 if that cannot be determined.
    """
    if (keys is None) == (url is None):
        raise CannotStart("give the public keys: --keys FILE, or --url URL of the service, one of them")
    public = _keys(_read(keys) if keys is not None else _fetch(url or ""))
    text, parts = _receipt(_read(file))
    try:
        claims, key_id = verify(text, public, type=TYPE)
        receipt = Receipt.model_validate(claims.get("receipt"))
    except SignatureFault as fault:
        raise CannotStart(f"NOT GENUINE: {fault}", NOT_GENUINE) from None
    except ValidationError:
        raise CannotStart(
            "signed, but this version does not understand its content: verify it with a newer one"
        ) from None
    signed = {
        "receipt": claims["receipt"],
        "id": claims.get("jti"),
        "identity_id": claims["receipt"]["identity_id"],
        "key_id": key_id,
    }
    for name, value in signed.items():
        if parts.get(name) not in (None, value):
            raise CannotStart(
                f"NOT GENUINE: `signed` is valid, but differs from the `{name}` next to it", NOT_GENUINE
            )
    return _summary(claims, receipt, key_id)


def _read(path: str) -> str:
    try:
        text = sys.stdin.read(_MAX_BYTES) if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        raise CannotStart(f"{path} cannot be read") from None
    return text.strip()


def _fetch(url: str) -> str:
    """Fetch the keys of a service, by its address or the address of its keys."""
    parts = urlsplit(url)
    if not parts.hostname or not (parts.scheme == "https" or parts.hostname in _LOOPBACK):
        # An attacker on the path could replace the keys.
        raise CannotStart("give --url as https://host[/path]; plain http proves nothing")
    place = url if parts.path.endswith(".json") else url.rstrip("/") + KEYS_PATH
    try:
        answer = httpx2.get(place, timeout=30)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise CannotStart(f"{place} does not answer: {type(error).__name__}") from None
    if answer.status_code != 200:
        raise CannotStart(f"{place} answers {answer.status_code}")
    return answer.text


def _keys(text: str) -> list[Mapping[str, Any]]:
    try:
        keys = strict_json.loads_plain(text)["keys"]
    except (ValueError, TypeError, LookupError):
        keys = None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise CannotStart(f"the keys are no JSON Web Key Set, as {KEYS_PATH} of the service answers")
    return keys


def _receipt(text: str) -> tuple[str, dict[str, Any]]:
    """The signed text of a file and the members next to it; a response of the API is accepted, too."""
    if not text.startswith("{"):
        return text, {}
    try:
        # Parsers disagree about repeated members.
        answer = strict_json.loads_plain(text, unique=True)
    except ValueError:
        raise CannotStart("the receipt is neither a signed text nor the API's answer") from None
    signed = answer.get("signed")
    if not isinstance(signed, str):
        raise CannotStart("NOT GENUINE: it has no signature (`signed`)", NOT_GENUINE)
    return signed, answer


def _summary(claims: Mapping[str, Any], receipt: Receipt, key_id: str) -> list[str]:
    content = claims["receipt"]
    by = content["by"]["id"] or content["by"]["type"]
    behalf = content["by"]["on_behalf_of"]
    agents = receipt.agents
    to = content["agents"]["transferred_to"]
    counts = {
        "tokens ended": len(receipt.tokens),
        "agents suspended": len(agents.suspended),
        f"agents transferred{f' to {to}' if to else ''}": len(agents.transferred),
        "approvals cancelled": len(receipt.approvals),
        "grants ended": len(receipt.grants),
        "groups left": len(receipt.groups),
        "service accounts flagged": len(receipt.service_accounts),
        "administrator records disabled": int(receipt.administrator_id is not None),
        "browsers signed out": receipt.browser_sessions,
        "calls cut": receipt.in_flight,
    }
    return [
        f"genuine        signed by the key {key_id} of {claims.get('iss')}",
        f"receipt        {claims.get('jti')}",
        f"identity       {content['identity_id']} ({receipt.kind})",
        f"offboarded at  {receipt.offboarded_at.isoformat()}",
        f"asked by       {by}{f' on behalf of {behalf}' if behalf else ''}, via {receipt.via}",
        *(f"{count:>13}  {what}" for what, count in counts.items()),
    ]

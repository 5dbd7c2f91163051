"""What a server may ask of a client: what the client said that it can do, at addresses that are not the gateway's.

A user trusts a page of the gateway more than a server's, so a server must not lead its users to one, nor to an address
that a browser reads otherwise than this does (WHATWG URL, section 4.4).
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from app.gateway.wire.members import ELICITATIONS, INPUT, PARAMS
from app.gateway.wire.methods import INPUT_REQUESTS, Asks
from app.gateway.wire.refusals import bad_upstream
from app.http.service_address import OwnAddresses, is_loopback

_URL = re.compile(r"[\x21-\x5b\x5d-\x7e]{1,2048}")
"""Printable ASCII without blanks and backslashes, which browsers drop or turn."""
_MODES = {"form": Asks.FORM, "url": Asks.URL}


@dataclass(frozen=True, slots=True)
class QuestionRules:
    """The rules for all servers."""

    own: OwnAddresses

    def allow(self, method: object, params: Any, asks: Asks) -> bool:
        """Whether a client of these abilities may be asked this. Raises ``Refused`` for members in another case."""
        if isinstance(params, dict):
            PARAMS.check(params)
        if method == "ping":
            return True
        if method == "roots/list":
            return Asks.ROOTS in asks
        if method == "sampling/createMessage":
            return Asks.SAMPLING in asks
        if method != "elicitation/create" or not isinstance(params, dict):
            return False
        mode = params.get("mode", "form")
        needed = _MODES.get(mode) if isinstance(mode, str) else None
        if needed is None or needed not in asks:
            return False
        return needed is Asks.FORM or self._leads_well(params.get("url"))

    def check(self, questions: Any, asks: Asks) -> bool:
        """Check the questions in a result; whether something was dropped of them. Raises ``Refused``."""
        if not isinstance(questions, dict):
            raise bad_upstream("The server behind the gateway asked for input where it may not.")
        dropped = False
        for question in questions.values():
            if not isinstance(question, dict) or question.get("method") not in INPUT_REQUESTS:
                raise bad_upstream("The server behind the gateway asked for input that no client gives.")
            dropped |= INPUT.keep(question)
            if not self.allow(question["method"], question.get("params"), asks):
                raise bad_upstream(
                    "The server behind the gateway asked for input that this client does not give, or at an address "
                    "to which no user is led."
                )
        return dropped

    def check_error(self, data: Any, asks: Asks) -> None:
        """Check what an error leads the user to (-32042 of MCP 2025-11-25). Raises ``Refused``."""
        elicitations = None
        if isinstance(data, dict):
            ELICITATIONS.check(data)
            elicitations = data.get("elicitations")
        if not isinstance(elicitations, list) or not all(
            isinstance(each, dict)
            and each.get("mode", "url") == "url"
            and self.allow("elicitation/create", {**each, "mode": "url"}, asks)
            for each in elicitations
        ):
            raise bad_upstream("The server behind the gateway leads the user where no user is led.")

    def _leads_well(self, url: Any) -> bool:
        if not isinstance(url, str) or _URL.fullmatch(url) is None:
            return False
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").rstrip(".")
            _ = parts.port
        except ValueError:
            return False
        if not host or "@" in parts.netloc or "%" in parts.netloc or _is_odd_number(host):
            return False
        safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
        return safe and not self.own.holds(url)


def _is_odd_number(host: str) -> bool:
    """Whether browsers take a name for an IPv4 address that is written in none of the usual forms."""
    last = host.rpartition(".")[2]
    if not (last.isdigit() or last.startswith("0x")):
        return False
    try:
        ip_address(host)
    except ValueError:
        return True
    return False

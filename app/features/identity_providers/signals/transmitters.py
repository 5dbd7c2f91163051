"""The client of transmitters: their configuration and keys, the API for streams, and polling for events."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple
from urllib.parse import quote, urlsplit

from app.crypto.jwt import Key, ProviderFault
from app.domain.security_events import REQUESTED, STREAM_STATUSES
from app.http.runtime import from_state
from app.lib.strict_json import JsonObject, JsonValue, StrictJsonError, dumps, loads
from app.outbound.http import OutboundClient, Timeouts
from app.outbound.jwks import TIMEOUTS, ask_provider, is_safe, request_object, safe_url, usable_keys

WELL_KNOWN = "/.well-known/ssf-configuration"
PUSH, POLL = "urn:ietf:rfc:8935", "urn:ietf:rfc:8936"
_METHODS = {"push": PUSH, "poll": POLL}
_MAX_BYTES = 1024 * 1024
_MAX_ID_LENGTH = 255
_POLL_TIMEOUTS = Timeouts(connect=3.0, first_byte=10.0, idle=5.0, total=15.0)
_POLL_WITHIN_S = 20.0
_ENDPOINTS = ("jwks_uri", "configuration_endpoint", "status_endpoint", "verification_endpoint")


Delivery = Literal["push", "poll"]


@dataclass(frozen=True, slots=True)
class Transmitter:
    """The signer of events. Its keys are at ``jwks_uri``, or at the URL in its configuration."""

    issuer: str
    jwks_uri: str | None = None

    def __str__(self) -> str:
        return self.issuer


@dataclass(frozen=True, slots=True)
class Access:
    """Access of one provider to a transmitter's own API."""

    transmitter: Transmitter
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """The requested stream. ``push_url`` and ``authorization`` (the header) are only for push. ``others`` are the
    streams of other providers there: changing one would take away its events."""

    delivery: Delivery
    push_url: str
    audiences: frozenset[str]
    authorization: str | None = field(default=None, repr=False)
    others: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Configuration:
    """The metadata of a transmitter (SSF 1.0 section 7)."""

    jwks_uri: str | None
    configuration_endpoint: str | None
    status_endpoint: str | None
    verification_endpoint: str | None
    methods: frozenset[str] = frozenset()
    critical: frozenset[str] = frozenset()
    """Members of complex subjects that a receiver must understand, or ignore the event."""


class StreamSetup(NamedTuple):
    """A stream as its transmitter has it. ``poll_url`` is the URL where its events are polled, if they are."""

    id: str
    poll_url: str | None
    status: str


class Transmitters:
    """Manages streams (SSF 1.0 section 8), and fetches keys and events. Methods that send a request raise
    ``ProviderFault``."""

    def __init__(self, outbound: OutboundClient) -> None:
        self._outbound = outbound
        self._known: dict[Transmitter, Configuration] = {}

    async def keys_of(self, transmitter: Transmitter) -> tuple[Key, ...]:
        """Fetch the supported signing keys. Raises ``ProviderFault``."""
        return await ask_provider(self._keys_of(transmitter))

    def critical_of(self, transmitter: Transmitter) -> frozenset[str]:
        """The critical subject members, as of the last fetch of keys."""
        known = self._known.get(transmitter)
        return frozenset() if known is None else known.critical

    def forget(self, all_but: Collection[Transmitter]) -> None:
        """Forget the transmitters that are no longer configured."""
        self._known = {one: known for one, known in self._known.items() if one in all_but}

    async def set_stream(self, access: Access, stream_id: str | None, stream: StreamRequest) -> StreamSetup:
        """Create a stream, or update the existing one (SSF 1.0 section 8.1.1)."""
        configuration, endpoint = await self._endpoint(access, "configuration_endpoint", "stream management")
        method = _METHODS[stream.delivery]
        if configuration.methods and method not in configuration.methods:
            raise ProviderFault(f"it does not deliver by {stream.delivery}", refused=True)
        delivery: JsonObject = {"method": method}
        if method == PUSH:
            delivery["endpoint_url"] = stream.push_url
            if stream.authorization is not None:
                delivery["authorization_header"] = stream.authorization
        body: JsonObject = {
            "delivery": delivery,
            "events_requested": list(REQUESTED),
            "description": "Scopegate",
        }
        if stream_id is None:
            stream_id = await self._find_stream(access, endpoint, method, stream)
        if stream_id is not None:
            status, answer = await self._ask(
                access, "PATCH", endpoint, {"stream_id": stream_id, **body}, {200, 404}
            )
            if status == 404:
                # The transmitter no longer has the stream.
                stream_id = None
        if stream_id is None:
            _, answer = await self._ask(access, "POST", endpoint, body, {200, 201})
        id, poll_url = _read_stream(access.transmitter.issuer, method, stream, answer)
        return StreamSetup(id, poll_url, await self._status(access, configuration, id))

    async def delete_stream(self, access: Access, stream_id: str) -> None:
        """Delete a stream, unless it is already deleted."""
        _, endpoint = await self._endpoint(access, "configuration_endpoint", "stream management")
        await self._ask(access, "DELETE", _of_stream(endpoint, stream_id), None, {200, 204, 404})

    async def ask_verification(self, access: Access, stream_id: str, state: str) -> str:
        """Request a verification event with this state; return the status of the stream."""
        configuration, endpoint = await self._endpoint(access, "verification_endpoint", "verification")
        await self._ask(access, "POST", endpoint, {"stream_id": stream_id, "state": state}, {200, 202, 204})
        return await self._status(access, configuration, stream_id)

    async def poll(
        self, access: Access, url: str, most: int, taken: Sequence[str], refused: Mapping[str, JsonObject]
    ) -> dict[str, str]:
        """Ask for events (RFC 8936 section 2), and acknowledge earlier ones. Returns event tokens by ``jti``."""
        body: JsonObject = {"maxEvents": most, "returnImmediately": True}
        if taken:
            body["ack"] = list(taken)
        if refused:
            body["setErrs"] = dict(refused)
        _, answer = await self._ask(access, "POST", url, body, {200}, _POLL_TIMEOUTS, _POLL_WITHIN_S)
        sets = answer.get("sets", {}) if isinstance(answer, dict) else None
        if not isinstance(answer, dict) or not isinstance(sets, dict):
            raise ProviderFault("it does not answer with events")
        texts = {jti: text for jti, text in sets.items() if isinstance(text, str)}
        if len(texts) != len(sets):
            raise ProviderFault("it answers with events that are no text")
        return dict(list(texts.items())[:most])

    async def _keys_of(self, transmitter: Transmitter) -> tuple[Key, ...]:
        if transmitter.jwks_uri is None:
            self._known[transmitter] = configuration = await self._configuration(transmitter.issuer)
            if configuration.jwks_uri is None:
                raise ProviderFault("its configuration names no keys")
            return await self._keys_at(configuration.jwks_uri)
        keys, _ = await asyncio.gather(self._keys_at(transmitter.jwks_uri), self._learn(transmitter))
        return keys

    async def _learn(self, transmitter: Transmitter) -> None:
        """Read the rest of the configuration, although the keys are known."""
        with suppress(ProviderFault):
            self._known[transmitter] = await ask_provider(self._configuration(transmitter.issuer))

    async def _keys_at(self, url: str) -> tuple[Key, ...]:
        return usable_keys((await request_object(self._outbound, "GET", url)).get("keys"))

    async def _configuration(self, issuer: str) -> Configuration:
        document = await request_object(self._outbound, "GET", configuration_url(issuer))
        # SSF 1.0 section 7.2.4: otherwise one transmitter could impersonate another.
        if document.get("issuer") != issuer:
            raise ProviderFault("its configuration names another issuer")
        endpoints = {name: safe_url(issuer, document, name) for name in _ENDPOINTS}
        return Configuration(
            **endpoints,
            methods=_texts(document.get("delivery_methods_supported")),
            critical=_texts(document.get("critical_subject_members")),
        )

    async def _endpoint(self, access: Access, name: str, what: str) -> tuple[Configuration, str]:
        """Read the configuration, and its address of this name."""
        configuration = await ask_provider(self._configuration(access.transmitter.issuer))
        endpoint: str | None = getattr(configuration, name)
        if endpoint is None:
            raise ProviderFault(f"its configuration names no address for {what}", refused=True)
        return configuration, endpoint

    async def _find_stream(
        self, access: Access, endpoint: str, method: str, stream: StreamRequest
    ) -> str | None:
        """Find our stream, created by hand or by a request whose response was lost."""
        status, answer = await self._ask(access, "GET", endpoint, None, {200, 403, 404, 405})
        for one in (answer if isinstance(answer, list) else [answer]) if status == 200 else []:
            if not isinstance(one, dict):
                continue
            id, delivery = one.get("stream_id"), one.get("delivery")
            if not isinstance(id, str) or not isinstance(delivery, dict) or delivery.get("method") != method:
                continue
            if id in stream.others:
                continue
            if method == POLL or delivery.get("endpoint_url") == stream.push_url:
                return id
        return None

    async def _status(self, access: Access, configuration: Configuration, stream_id: str) -> str:
        if configuration.status_endpoint is None:
            return "unknown"
        url = _of_stream(configuration.status_endpoint, stream_id)
        _, answer = await self._ask(access, "GET", url, None, {200})
        status = answer.get("status") if isinstance(answer, dict) else None
        return str(status) if status in STREAM_STATUSES else "unknown"

    async def _ask(
        self,
        access: Access,
        method: str,
        url: str,
        body: JsonObject | None,
        statuses: Collection[int],
        timeouts: Timeouts = TIMEOUTS,
        within_s: float = 10.0,
    ) -> tuple[int, JsonValue]:
        """Send a request; return the status, one of ``statuses``, and the JSON if any. Raises ``ProviderFault``."""
        headers = [
            (b"accept", b"application/json"),
            (b"authorization", b"Bearer " + access.token.encode("ascii")),
        ]
        if body is not None:
            headers.append((b"content-type", b"application/json"))
        sent = b"" if body is None else dumps(body)

        async def ask() -> tuple[int, bytes]:
            response = await self._outbound.request(method, url, headers, sent, timeouts=timeouts)
            try:
                return response.status, await response.read(_MAX_BYTES)
            finally:
                response.close()

        status, content = await ask_provider(ask(), within_s)
        if status not in statuses:
            raise ProviderFault(f"it answers {status}", refused=400 <= status < 500)
        try:
            return status, loads(content) if content else None
        except StrictJsonError:
            raise ProviderFault("it does not answer with JSON") from None


CurrentTransmitters = Annotated[Transmitters, from_state("transmitters")]


def configuration_url(issuer: str) -> str:
    """The address of a transmitter's configuration: the well-known path precedes the issuer's path (SSF 1.0 section
    7.2.1)."""
    parts = urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path.rstrip('/')}"


def _of_stream(endpoint: str, stream_id: str) -> str:
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}stream_id={quote(stream_id, safe='')}"


def _read_stream(
    issuer: str, method: str, stream: StreamRequest, answer: JsonValue
) -> tuple[str, str | None]:
    """The id of a stream and the URL where its events are polled, if they are."""
    if not isinstance(answer, dict):
        raise ProviderFault("it does not return the created stream")
    id, delivery, audience = answer.get("stream_id"), answer.get("delivery"), answer.get("aud")
    if not isinstance(id, str) or not 0 < len(id) <= _MAX_ID_LENGTH or not id.isprintable():
        raise ProviderFault("it does not return the id of the stream")
    if id in stream.others:
        raise ProviderFault("it returns the stream of another provider here", refused=True)
    if answer.get("iss", issuer) != issuer:
        raise ProviderFault("its stream is of another issuer", refused=True)
    if audience is not None and stream.audiences.isdisjoint(
        audience if isinstance(audience, list) else [audience]
    ):
        raise ProviderFault("its stream is for an audience that the settings do not name", refused=True)
    if not isinstance(delivery, dict) or delivery.get("method") != method:
        raise ProviderFault("its stream has another delivery than requested", refused=True)
    url = delivery.get("endpoint_url")
    if method == PUSH:
        return id, None
    if not isinstance(url, str) or not is_safe(issuer, url):
        raise ProviderFault("it does not return an https address for its events")
    return id, url


def _texts(value: JsonValue) -> frozenset[str]:
    return frozenset(one for one in value if isinstance(one, str)) if isinstance(value, list) else frozenset()

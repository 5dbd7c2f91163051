"""The REST API client of ``dev`` and ``demo``, authenticated with client credentials."""

from types import TracebackType
from typing import Any, Self

import httpx2

Json = dict[str, Any]


class ApiFault(Exception):
    """The API refused or did not respond; one line with the request and the reason."""


class Api:
    """A blocking client that is signed in to a running service."""

    def __init__(self, url: str, client_id: str, client_secret: str) -> None:
        """Sign in. Raises ``ApiFault`` if the service does not respond or refuses the credential."""
        # trust_env: requests to this machine must not use a proxy from the environment.
        self._http = httpx2.Client(base_url=url, timeout=30, trust_env=False)
        answer = self._send(
            "POST",
            "/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=httpx2.BasicAuth(client_id, client_secret),
        )
        self._http.headers["Authorization"] = f"Bearer {answer['access_token']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **parameters: str | int) -> Json:
        """Read one object or one page."""
        return self._send("GET", f"/api/v1{path}", params=parameters)

    def every(self, path: str, **parameters: str | int) -> list[Json]:
        """Read all pages of a list."""
        items: list[Json] = []
        page: Json = {"next_cursor": None}
        while True:
            more = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
            page = self.get(path, limit=200, **parameters, **more)
            items += page["items"]
            if not page["next_cursor"]:
                return items

    def post(self, path: str, body: Json | None = None) -> Json:
        """Create an object or run an action."""
        return self._send("POST", f"/api/v1{path}", json=body if body is not None else {})

    def patch(self, path: str, body: Json) -> Json:
        """Change the members in ``body``."""
        return self._send("PATCH", f"/api/v1{path}", json=body)

    def put(self, path: str) -> Json:
        """Create or replace."""
        return self._send("PUT", f"/api/v1{path}")

    def _send(self, method: str, path: str, **options: Any) -> Json:
        try:
            answer = self._http.request(method, path, **options)
        except httpx2.HTTPError as error:
            why = str(error) or type(error).__name__
            raise ApiFault(f"no answer from {self._http.base_url}: {why}") from None
        if not answer.is_success:
            raise ApiFault(f"{method} {path} answered {answer.status_code}: {_reason(answer)}")
        return answer.json() if answer.content else {}


def _reason(answer: httpx2.Response) -> str:
    try:
        problem = answer.json()
    except ValueError:
        return answer.reason_phrase
    details = [str(problem.get("detail") or problem.get("error_description") or problem.get("title") or "")]
    details += [f"{error.get('pointer')}: {error.get('detail')}" for error in problem.get("errors") or []]
    return " ".join(" ".join(details).split())

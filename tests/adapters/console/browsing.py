"""A person at a browser without script: follows links, and sends forms with what stands in them."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

Fields = dict[str, list[str]]


@dataclass
class ShownForm:
    """A form as a browser would send it: hidden and typed fields, what is ticked, what is chosen."""

    action: str
    method: str
    fields: Fields = field(default_factory=dict)
    buttons: list[dict[str, str]] = field(default_factory=list)

    def put(self, name: str, value: str) -> None:
        self.fields.setdefault(name, []).append(value)


class _Reader(HTMLParser):
    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address
        self.forms: list[ShownForm] = []
        self.links: list[tuple[str, str]] = []
        self.text: list[str] = []
        self._form: ShownForm | None = None
        self._area = self._select = ""
        self._link = -1

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = {name: value or "" for name, value in attrs}
        if tag == "form":
            action = urljoin(self.address, held.get("action", ""))
            self._form = ShownForm(urlsplit(action).path, held.get("method", "get"))
            self.forms.append(self._form)
        elif tag == "a" and "href" in held:
            self._link = len(self.links)
            self.links.append((held["href"], ""))
        elif self._form is not None:
            self._in_form(tag, held)

    def _in_form(self, tag: str, held: dict[str, str]) -> None:
        assert self._form is not None
        name = held.get("name", "")
        if tag == "button":
            self._form.buttons.append(held)
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            if "selected" in held or self._select not in self._form.fields:
                self._form.fields[self._select] = [held.get("value", "")]
        elif tag == "textarea":
            self._area = name
            self._form.fields[name] = [""]
        elif tag == "input" and name and (held.get("type") not in ("checkbox", "radio") or "checked" in held):
            self._form.put(name, held.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "textarea":
            self._area = ""
        elif tag == "select":
            self._select = ""
        elif tag == "a":
            self._link = -1

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._link >= 0:
            href, words = self.links[self._link]
            self.links[self._link] = (href, words + data)
        if self._area and self._form is not None:
            self._form.fields[self._area] = [(self._form.fields[self._area][0] + data).removeprefix("\n")]


@dataclass
class Person:
    """Somebody at a browser, with the page that they look at."""

    browser: httpx2.AsyncClient
    page: Any = None
    address: str = ""

    @property
    def shown(self) -> _Reader:
        """What stands on the page."""
        reader = _Reader(self.address)
        reader.feed(self.page.text)
        return reader

    @property
    def words(self) -> str:
        """The text of the page, on one line."""
        return " ".join(" ".join(self.shown.text).split())

    async def open(self, address: str) -> "Person":
        """Open an address, and where it leads."""
        return await self._arrive(await self.browser.get(address), address)

    async def follow(self, words: str) -> "Person":
        """Press the first link that says this."""
        return await self.open(self.link(words))

    def link(self, words: str) -> str:
        """Where the first link that says this leads."""
        found = [href for href, said in self.shown.links if words in said]
        assert found, f"no link says {words!r}: {self.words}"
        return urljoin(self.address, found[0])

    def form(self, ending: str) -> ShownForm:
        """The form that is sent to an address with this ending, the first of them."""
        found = [form for form in self.shown.forms if form.action.endswith(ending)]
        assert found, f"no form is sent to {ending!r}: {self.words}"
        return found[0]

    async def send(self, form: ShownForm | str, **changed: str | list[str] | None) -> "Person":
        """Send a form, named by the ending of its address, with some fields as they are said here."""
        form = self.form(form) if isinstance(form, str) else form
        sent: Any = {name: value for name, value in {**form.fields, **changed}.items() if value is not None}
        if form.method == "get":
            answer = await self.browser.get(form.action, params=sent)
        else:
            answer = await self.browser.post(form.action, data=sent)
        return await self._arrive(answer, form.action)

    async def _arrive(self, answer: Any, address: str) -> "Person":
        while answer.status_code == 303:
            address = urljoin(address, answer.headers["location"])
            answer = await self.browser.get(address)
        self.page, self.address = answer, address
        return self

"""Builds the console's assets from npm packages: style, scripts, fonts and icons, named by their digests.

Run after ``npm ci --ignore-scripts`` in this folder. It uses only the standard library, so that an image can be
built without the service's environment. ``make assets`` does both.
"""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
TEMPLATES = HERE.parent / "templates"
OUT = HERE.parent / "assets"
SCRIPTS = {
    "htmx.js": "htmx.org/dist/htmx.min.js",
    "hx-csp.js": "htmx.org/dist/ext/hx-csp.min.js",
    "hx-sse.js": "htmx.org/dist/ext/hx-sse.min.js",
}
FONTS = {"inter-latin.woff2": "latin", "inter-latin-ext.woff2": "latin-ext"}
DARK = "[data-bs-theme=dark]"
# Has the same specificity as the attribute selector that it replaces.
DARK_BY_SYSTEM = ":root:not(:where([data-bs-theme=light]))"
_ICON = re.compile(r"""icon(?:\(|=)\s*["']([a-z0-9-]+)["']""")
_SOURCE_MAP = re.compile(rb"\n?(//# sourceMappingURL=.*|/\*# sourceMappingURL=.*\*/)\s*$")


def main() -> None:
    """Write every asset and the manifest, replacing earlier ones."""
    made = OUT.with_name("assets.new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    names: dict[str, str] = {}

    def write(name: str, content: bytes) -> str:
        stem, _, ending = name.rpartition(".")
        names[name] = f"{stem}-{hashlib.sha256(content).hexdigest()[:12]}.{ending}"
        (made / names[name]).write_bytes(content)
        return names[name]

    for name, source in SCRIPTS.items():
        write(name, _SOURCE_MAP.sub(b"", (MODULES / source).read_bytes()))
    faces = []
    inter = MODULES / "@fontsource-variable/inter"
    letters = json.loads((inter / "unicode.json").read_text())
    for name, subset in FONTS.items():
        font = write(name, (inter / "files" / f"inter-{subset}-wght-normal.woff2").read_bytes())
        faces.append(_face(font, letters[subset]))
    style = _SOURCE_MAP.sub(b"", (MODULES / "@tabler/core/dist/css/tabler.min.css").read_bytes()).decode()
    # A charset rule is only valid at the start, and the sheet is served as UTF-8.
    style = style.removeprefix('@charset "UTF-8";')
    write("tabler.css", "".join((*faces, *dark_by_system(style))).encode())
    write("icons.svg", sprite().encode())
    (made / "manifest.json").write_text(json.dumps(names, indent=2) + "\n")
    shutil.rmtree(OUT, ignore_errors=True)
    made.rename(OUT)


def dark_by_system(style: str) -> Iterator[str]:
    """Add the dark colors for readers whose system prefers them and who chose no theme."""
    for head, body in rules(style):
        if head.startswith(("@media", "@supports")):
            yield f"{head}{{{''.join(dark_by_system(body))}}}"
            continue
        yield f"{head}{{{body}}}"
        dark = [one.replace(DARK, DARK_BY_SYSTEM) for one in _selectors(head) if _is_of_whole_page(one)]
        if dark:
            yield f"@media (prefers-color-scheme:dark){{{','.join(dark)}{{{body}}}}}"


def rules(style: str) -> Iterator[tuple[str, str]]:
    """The rules of a minified style sheet: the text before each outermost block, and the block."""
    start = depth = opened = 0
    quote = ""
    for at, letter in enumerate(style):
        if quote:
            quote = "" if letter == quote and style[at - 1] != "\\" else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "{":
            depth += 1
            opened = at if depth == 1 else opened
        elif letter == "}":
            depth -= 1
            if depth == 0:
                yield style[start:opened].strip(), style[opened + 1 : at]
                start = at + 1


def sprite() -> str:
    """The icons that the templates and the menu name, as one SVG sprite."""
    named_in = (*TEMPLATES.rglob("*.html"), HERE.parent / "menu.py")
    names = sorted({name for path in named_in for name in _ICON.findall(path.read_text())})
    return '<svg xmlns="http://www.w3.org/2000/svg">' + "".join(_symbol(name) for name in names) + "</svg>\n"


def _symbol(name: str) -> str:
    path = MODULES / "@tabler/icons/icons/outline" / f"{name}.svg"
    if not path.exists():
        sys.exit(f"A template names the icon {name}, which does not exist.")
    drawn = re.sub(r"<!--.*?-->", "", path.read_text(), flags=re.DOTALL).strip()
    inside = drawn[drawn.index(">") + 1 : drawn.rindex("</svg>")]
    inside = "".join(line.strip() for line in inside.splitlines())
    return (
        f'<symbol id="{name}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" '
        f'stroke-linecap="round" stroke-linejoin="round">{inside}</symbol>'
    )


def _face(font: str, letters: str) -> str:
    return (
        f"@font-face{{font-family:'Inter Var';font-style:normal;font-display:swap;font-weight:100 900;"
        f"src:url({font}) format('woff2-variations');unicode-range:{letters}}}"
    )


def _selectors(head: str) -> list[str]:
    """Split a selector list at commas outside of brackets."""
    found, depth = [""], 0
    for letter in head:
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            found.append("")
        else:
            found[-1] += letter
    return found


def _is_of_whole_page(selector: str) -> bool:
    """Whether a selector matches a dark page, not a dark part of a light page."""
    return selector.removeprefix(":root").startswith(DARK) and "light" not in selector


if __name__ == "__main__":
    main()

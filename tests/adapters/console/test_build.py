"""What is made of npm's packages: dark colours also for who asks the system for them, and the icons that are named."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from app.adapters.console import assets

FRONTEND = Path(assets.__file__).parent / "frontend"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """The script that makes them."""
    spec = importlib.util.spec_from_file_location("console_build", FRONTEND / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_dark_by_choice_is_dark_by_the_system_for_who_has_not_chosen_light(build: ModuleType) -> None:
    style = (
        ':root{--a:"}"}[data-bs-theme=dark],.navbar[data-bs-theme=dark]{--a:b}'
        "@media print{[data-bs-theme=dark] p{c:d}}p:is(a,b){e:f}"
    )
    made = "".join(build.dark_by_system(style))
    by_system = ":root:not(:where([data-bs-theme=light]))"
    assert made == (
        ':root{--a:"}"}[data-bs-theme=dark],.navbar[data-bs-theme=dark]{--a:b}'
        f"@media (prefers-color-scheme:dark){{{by_system}{{--a:b}}}}"
        "@media print{[data-bs-theme=dark] p{c:d}"
        f"@media (prefers-color-scheme:dark){{{by_system} p{{c:d}}}}}}"
        "p:is(a,b){e:f}"
    )


def test_the_lock_names_versions_and_no_registry() -> None:
    lock = json.loads((FRONTEND / "package-lock.json").read_text())
    wanted = json.loads((FRONTEND / "package.json").read_text())["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert packages
    assert all("resolved" not in one and one["integrity"].startswith("sha512-") for one in packages.values())


@pytest.mark.skipif(not assets.are_made(), reason="there are no assets to look at: make assets (needs npm)")
def test_the_assets_are_those_of_the_templates_and_point_nowhere_else(build: ModuleType) -> None:
    names = json.loads((build.OUT / "manifest.json").read_text())
    assert {"tabler.css", "htmx.js", "hx-csp.js", "hx-sse.js", "icons.svg"} <= set(names)
    assert {path.name for path in build.OUT.iterdir()} == {*names.values(), "manifest.json"}
    drawn = set(re.findall(r'<symbol id="([^"]+)"', (build.OUT / names["icons.svg"]).read_text()))
    named = {
        name
        for path in (*build.TEMPLATES.rglob("*.html"), FRONTEND.parent / "menu.py")
        for name in build._ICON.findall(path.read_text())
    }
    assert named <= drawn, "run make assets"
    for served in names.values():
        assert b"sourceMappingURL" not in (build.OUT / served).read_bytes()
    style = (build.OUT / names["tabler.css"]).read_text()
    assert not [url for url in re.findall(r"url\(([^)]+)\)", style) if url.strip("\"'").startswith("http")]

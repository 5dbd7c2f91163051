"""``/docs`` is the reference, and loads nothing from anywhere else."""

import re

import httpx2


async def test_everything_that_the_reference_loads_comes_from_this_service(
    anonymous: httpx2.AsyncClient,
) -> None:
    page = await anonymous.get("/docs")
    assert page.status_code == 200
    assert re.findall(r"https?:", page.text) == []
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "connect-src 'self';" in policy
    scripts = re.findall(r'src="([^"]+)"', page.text)
    assert len(scripts) == 2
    for script in scripts:
        answer = await anonymous.get(script)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/javascript")
    assert '"/openapi.json"' in (await anonymous.get("/docs/start.js")).text

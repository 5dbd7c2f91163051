"""``scopegate export-openapi``: a document that only depends on the code, not on the environment."""

import json

from pydantic import SecretStr

from app.main import create_api
from app.settings import Settings


def openapi() -> str:
    """The OpenAPI document as text, in the order of the code, with a final line feed."""
    # Nothing connects before the application starts, and no setting is part of the document.
    unused = SecretStr("unused-" * 8)
    settings = Settings(
        database_url=SecretStr("postgresql://localhost/unused"),
        token_pepper=unused,
        encryption_key=unused,
        signing_key=unused,
    )
    return json.dumps(create_api(settings).openapi(), indent=2, ensure_ascii=False) + "\n"

"""Written by `make client` from openapi/openapi.json. Nobody edits it."""

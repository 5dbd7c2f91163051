"""Contents of the fixture server: an image, audio, resources and prompts."""

import base64
import json
import struct
import zlib

import mcp_types as types
from mcp.shared.exceptions import MCPError

TEMPLATE = "test://template/{id}/data"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_HEADER = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
_PNG = (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", _HEADER)
    + _chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00"))
    + _chunk(b"IEND", b"")
)
_FORMAT = struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8)
_WAV = (
    b"RIFF"
    + struct.pack("<I", 38)
    + b"WAVEfmt "
    + struct.pack("<I", 16)
    + _FORMAT
    + b"data\x02\x00\x00\x00\x80\x80"
)
PNG = base64.b64encode(_PNG).decode()
WAV = base64.b64encode(_WAV).decode()

RESOURCES = [
    types.Resource(
        uri="test://static-text", name="Text", description="A static text", mime_type="text/plain"
    ),
    types.Resource(
        uri="test://static-binary", name="Image", description="A static image", mime_type="image/png"
    ),
    types.Resource(
        uri="test://watched-resource", name="Watched", description="May change", mime_type="text/plain"
    ),
]
_TEXTS = {
    "test://static-text": "This is the content of the static text resource.",
    "test://watched-resource": "Watched resource content.",
}


def read(uri: str) -> types.ReadResourceResult:
    """Return the contents of a resource. Raises ``MCPError`` for an unknown one."""
    contents: types.TextResourceContents | types.BlobResourceContents
    begin, _, end = TEMPLATE.partition("{id}")
    if uri in _TEXTS:
        contents = types.TextResourceContents(uri=uri, mime_type="text/plain", text=_TEXTS[uri])
    elif uri == "test://static-binary":
        contents = types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)
    elif uri.startswith(begin) and uri.endswith(end):
        id = uri.removeprefix(begin).removesuffix(end)
        words = json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})
        contents = types.TextResourceContents(uri=uri, mime_type="application/json", text=words)
    else:
        raise MCPError(types.INVALID_PARAMS, "Resource not found", {"uri": uri})
    return types.ReadResourceResult(contents=[contents])


def _argument(name: str, description: str) -> types.PromptArgument:
    return types.PromptArgument(name=name, description=description, required=True)


PROMPTS = [
    types.Prompt(name="test_simple_prompt", description="A prompt without arguments"),
    types.Prompt(
        name="test_prompt_with_arguments",
        description="A prompt with two arguments",
        arguments=[_argument("arg1", "First test argument"), _argument("arg2", "Second test argument")],
    ),
    types.Prompt(
        name="test_prompt_with_embedded_resource",
        description="A prompt that embeds a resource",
        arguments=[_argument("resourceUri", "URI of the resource to embed")],
    ),
    types.Prompt(name="test_prompt_with_image", description="A prompt that shows an image"),
    types.Prompt(name="test_input_required_result_prompt", description="A prompt that asks first"),
]


def prompt(name: str, arguments: dict[str, str]) -> types.GetPromptResult:
    """Return a prompt with its arguments. Raises ``MCPError`` for an unknown one."""
    content: types.ContentBlock
    match name:
        case "test_simple_prompt":
            return _messages(types.TextContent(text="This is a simple prompt for testing."))
        case "test_prompt_with_arguments":
            words = f"Prompt with arguments: arg1='{arguments['arg1']}', arg2='{arguments['arg2']}'"
            return _messages(types.TextContent(text=words))
        case "test_prompt_with_embedded_resource":
            content = types.EmbeddedResource(
                resource=types.TextResourceContents(
                    uri=arguments["resourceUri"],
                    mime_type="text/plain",
                    text="Embedded resource content for testing.",
                )
            )
            return _messages(content, types.TextContent(text="Please process the embedded resource above."))
        case "test_prompt_with_image":
            content = types.ImageContent(data=PNG, mime_type="image/png")
            return _messages(content, types.TextContent(text="Please analyze the image above."))
    raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {name}")


def _messages(*contents: types.ContentBlock) -> types.GetPromptResult:
    return types.GetPromptResult(
        messages=[types.PromptMessage(role="user", content=content) for content in contents]
    )

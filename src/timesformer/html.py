"""Self-contained HTML pages: one file with its style and images."""

import base64
import html
import io

from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image


def document(title: str, *, style: str, body: str) -> str:
    """A whole HTML page.

    Args:
        title: Title, as text.
        style: CSS.
        body: HTML inside `<main>`.
    """
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{style}</style></head>'
        f"<body><main>{body}</main></body></html>\n"
    )


def escape(text: object) -> str:
    """Escape text for HTML; bytes of a file name that are not UTF-8 become escapes."""
    return html.escape(str(text).encode("utf-8", "backslashreplace").decode())


def encode(picture: UInt8[ndarray, "h w 3"], *, kind: str, quality: int = 85) -> bytes:
    """Encode an RGB image as `png` or `jpeg`; `quality` (up to 95) is for `jpeg`."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind.upper(), **({"quality": quality} if kind == "jpeg" else {}))
    return buffer.getvalue()


def data_url(content: bytes, kind: str) -> str:
    """A data URL of an encoded image."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"

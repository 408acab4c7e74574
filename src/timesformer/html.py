"""Pages that hold all that they show: one HTML file, with its style and its pictures inside."""

import base64
import html
import io

from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image


def document(title: str, *, style: str, body: str) -> str:
    """A whole HTML page.

    Args:
        title: Its title, as text.
        style: CSS.
        body: HTML of what it shows.
    """
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{style}</style></head>'
        f"<body><main>{body}</main></body></html>\n"
    )


def escape(text: object) -> str:
    """Text for HTML; bytes of a file name that are no UTF-8 are shown as escapes."""
    return html.escape(str(text).encode("utf-8", "backslashreplace").decode())


def encode(picture: UInt8[ndarray, "h w 3"], *, kind: str, quality: int = 85) -> bytes:
    """Encode an RGB picture as `png` or `jpeg`, the latter with a quality up to 95."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind.upper(), **({"quality": quality} if kind == "jpeg" else {}))
    return buffer.getvalue()


def data_url(content: bytes, kind: str) -> str:
    """An encoded picture as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"

"""Pictures small enough to lie inside a page or an artifact, as `data:` addresses: no server, no network, no file."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

WIDTH_PX = 640
CURVE = "learning_curve"  # in a picture's name: how a probe was trained is looked at after what it does
MOST_BYTES = 120_000


def data_uri(path: Path, width: int = WIDTH_PX) -> str | None:
    """The picture, at most `width` px wide and MOST_BYTES long; None for a file that is no picture."""
    from PIL import Image, UnidentifiedImageError  # a tenth of a second that `--help` must not pay

    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (UnidentifiedImageError, FileNotFoundError):
        return None
    while True:
        small = picture.copy()
        small.thumbnail((width, 2 * width))
        content, kind = min(_encodings(small), key=lambda encoding: len(encoding[0]))
        if len(content) <= MOST_BYTES or width < 64:
            return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        width = int(width * 0.8)


def _encodings(picture: Any) -> list[tuple[bytes, str]]:
    """Charts are smaller as PNG with a palette, photographs as JPEG."""
    found = []
    options: dict[str, Any]
    for kind, options in (("png", {"optimize": True}), ("jpeg", {"quality": 82})):
        stream = io.BytesIO()
        shown = picture.quantize(64) if kind == "png" else picture
        shown.save(stream, kind.upper(), **options)
        found.append((stream.getvalue(), kind))
    return found

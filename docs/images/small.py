"""Pictures small enough for a repository: a page of the browser with a palette, photographs as JPEG."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WIDTH = 1280  # px of the browser's window
KEPT_WIDTH = 900  # px in the docs
JPEG_QUALITY = 88  # beyond it no eye sees a difference at this size, and every fifth of the bytes is for it


def shoot(address: str, target: Path, height: int, width: int = WIDTH) -> None:
    """What chromium shows at `address`. No name but the loopback's resolves in it."""
    if shutil.which("chromium") is None:
        sys.exit("chromium is needed: sudo apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        command = [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--run-all-compositor-stages-before-draw",  # or a page that fades in is taken half faded
            f"--user-data-dir={profile}", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--window-size={width},{height}", "--virtual-time-budget=60000", f"--screenshot={target}", address,
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    _narrow(target).quantize(256).save(target, optimize=True)
    _tell(target)


def photographs(source: Path, target: Path) -> None:
    """A grid of photographs with its labels: 256 colours would be seen, and every colour takes a megabyte as PNG."""
    _narrow(source).save(target, quality=JPEG_QUALITY, subsampling=0, optimize=True)
    _tell(target)


def _narrow(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((KEPT_WIDTH, 10 * KEPT_WIDTH), Image.Resampling.LANCZOS)
    return picture


def _tell(target: Path) -> None:
    with Image.open(target) as picture:
        print(f"{target.name}  {picture.size}  {target.stat().st_size / 1e3:.0f} kB", flush=True)

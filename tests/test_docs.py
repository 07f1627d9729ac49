"""The documentation as a reader meets it: its pictures are there, and a clone does not pay for them."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
MOST_BYTES = 200_000  # of one picture: 900 px wide, as a page shows it


def test_every_picture_of_a_page_is_there_and_none_is_large_or_forgotten():
    shown = {
        (page.parent / name).resolve()
        for page in PAGES
        for name in re.findall(r"!\[[^]]*]\(([^)]+)\)", page.read_text())
    }
    kept = {path for path in (CHECKOUT / "docs/images").iterdir() if path.suffix in (".png", ".jpg", ".svg")}
    assert shown == kept
    assert [path.name for path in kept if path.stat().st_size > MOST_BYTES] == []


def test_every_link_between_pages_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"(?<!!)\[[^]]*]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} -> {target}"

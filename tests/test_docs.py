"""The documentation as a reader meets it: its pictures are there, and a clone does not pay for them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from foresight.cli import app

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


def blocks(page: Path, language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


BY_HAND = [(page, code) for page in PAGES for code in blocks(page, "python") if "run_all()" in code]


@pytest.mark.parametrize(("page", "code"), BY_HAND, ids=[page.name for page, _ in BY_HAND])
def test_what_a_page_runs_by_hand_runs_as_it_is_written(page: Path, code: str, tmp_path: Path):
    environment = {**os.environ, "FORESIGHT_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "1 completed" in done.stdout
    assert "Clusters with 0.72." in (tmp_path / "home/results/c1-vlm-latent-sufficiency/results.yaml").read_text()


def test_the_readme_shows_a_handler_of_ones_own():
    assert "README.md" in [page.name for page, _ in BY_HAND]


def commands(page: Path) -> list[str]:
    """Every `foresight …` of a block, and of a line of text, without its comment."""
    lines = [line for block in blocks(page) for line in block.splitlines()]
    lines += re.findall(r"`(foresight [^`]+)`", page.read_text())
    return [line.partition("  #")[0].strip() for line in lines if re.match(r"foresight [a-z]", line.strip())]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_command_of_a_page_is_one_with_those_options(page: Path):
    for line in commands(page):
        words = shlex.split(line.replace("…", " "))[1:]
        command: Any = typer.main.get_command(app)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        if "|" in words or (not words and "…" in line):  # `foresight status | cancel RUN`, `foresight results …`
            continue
        known = {option for parameter in command.params for option in parameter.opts}
        asked = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert asked <= known, f"{page.name}: {line}"
        assert not hasattr(command, "commands") or command.name == "gates", f"{page.name}: {line}"

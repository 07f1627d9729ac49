"""At any width nothing that a table holds is lost; at 80 columns and more its words are whole."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from foresight.plan import render
from foresight.plan.loader import load_plan
from foresight.tables import Listing

PROSE = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def printed(shown: object, width: int, *, soft_wrap: bool = False) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, soft_wrap=soft_wrap).print(shown)
    return stream.getvalue()


def listing() -> Listing:
    table = Listing("name", "state", "why", title="Things")
    table.add_row("a-rather-long-identifier", "not prepared", PROSE)
    table.add_row("another", "ready", "")
    return table


@pytest.mark.parametrize("soft_wrap", [False, True])  # a terminal, and a pipe
@pytest.mark.parametrize("width", [200, 80, 60, 42])
def test_prose_wraps_beside_its_row_or_below_it_and_words_stay_whole(width: int, soft_wrap: bool):
    text = printed(listing(), width, soft_wrap=soft_wrap)
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    assert "a-rather-long-identifier  not prepared" in text
    assert " ".join(text.split()).count("ready") == 1
    assert [word for word in text.split() if word in PROSE.split()] == PROSE.split()


def test_what_does_not_fit_at_all_is_folded_and_not_cut():
    text = printed(listing(), 24)
    assert "…" not in text
    letters = "".join(text.split())
    assert all(letters.count(letter) >= "a-rather-long-identifier".count(letter) for letter in "identifier")


@pytest.mark.parametrize("width", [80, 120])
def test_the_plan_names_everything_in_a_window_of_80_columns(width: int):
    plan = load_plan()
    text = "".join(printed(shown, width) for shown in render.renderables(plan))
    assert "…" not in text
    words = set(text.replace(",", " ").replace("(", " ").replace(")", " ").split())
    for experiment in plan.experiments:
        assert {experiment.short, *(sub.id for sub in experiment.sub_experiments)} <= words
        for criterion in experiment.criteria:
            assert {criterion.name, criterion.sub_experiment} <= words
            assert set(criterion.arm.replace(",", " ").replace("(", " ").replace(")", " ").split()) <= words
    assert {gate.id for gate in plan.gates} <= words

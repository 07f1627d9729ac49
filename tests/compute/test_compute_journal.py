"""A journal outlives whatever cuts it short: a full disk, a lost power supply."""

from __future__ import annotations

import errno
import os

import pytest

from foresight.compute import journal
from foresight.compute.backend import StepOutcome
from foresight.compute.journal import JournalWriter, read_journal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "call.journal.jsonl"


def test_who_tidies_up_after_a_line_that_was_cut_short_is_understood(path):
    with JournalWriter(path) as worker:
        worker.end(StepOutcome("a", "completed"))
    with path.open("ab") as stream:
        stream.write(b'{"ended":{"fingerprint":"b","sta')
    with JournalWriter(path) as tidying:
        tidying.end(StepOutcome("b", "failed", "lost"))
        tidying.over()
    found = read_journal(path)
    assert [(outcome.fingerprint, outcome.status) for outcome in found.outcomes.values()] == [
        ("a", "completed"),
        ("b", "failed"),
    ]
    assert found.is_over


def test_a_disk_that_takes_half_a_line_is_a_full_one(path, monkeypatch):
    monkeypatch.setattr(journal.os, "write", lambda descriptor, data, write=os.write: write(descriptor, data[:5]))
    with JournalWriter(path) as writer, pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        writer.over()
    assert not read_journal(path).is_over

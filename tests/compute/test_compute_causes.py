import errno
import os
import signal

import pytest

from foresight.compute.causes import EXIT_DISK_FULL, oom_kills, trouble_of, trouble_of_exit
from foresight.errors import StepFailed


def test_a_step_that_says_its_own_cause_is_believed(tmp_path):
    trouble = trouble_of(StepFailed("the data changed", cause="identity", retryable=False), tmp_path)
    assert (trouble.cause, trouble.error, trouble.retryable) == ("identity", "the data changed", False)


def test_a_full_disk_is_found_behind_other_errors(tmp_path):
    wrapped = ValueError("could not save")
    wrapped.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    trouble = trouble_of(wrapped, tmp_path)
    assert (trouble.cause, trouble.retryable) == ("disk", True)
    assert str(tmp_path) in trouble.error
    assert trouble_of(OSError(errno.EACCES, "no"), tmp_path).cause == "exception"


def test_a_worker_that_could_not_write_its_journal_met_a_full_disk(tmp_path):
    assert trouble_of_exit(EXIT_DISK_FULL, oom_killed=False, root=tmp_path).cause == "disk"


@pytest.mark.parametrize(
    ("status", "oom_killed", "cause", "retryable"),
    [
        (-signal.SIGKILL, True, "out_of_memory", True),
        (-signal.SIGKILL, False, "signal", True),
        (-signal.SIGTERM, True, "signal", True),
        (-signal.SIGABRT, True, "signal", False),
        (-64, False, "signal", False),
        (1, False, "exception", False),
    ],
)
def test_only_what_came_from_outside_is_worth_a_retry(tmp_path, status, oom_killed, cause, retryable):
    trouble = trouble_of_exit(status, oom_killed=oom_killed, root=tmp_path)
    assert (trouble.cause, trouble.retryable) == (cause, retryable)


def test_errors_are_one_short_line(tmp_path):
    trouble = trouble_of(RuntimeError("a\n\nb " + "x" * 10_000), tmp_path)
    assert trouble.error.startswith("RuntimeError: a b x")
    assert len(trouble.error) == 500


def test_the_kernel_is_asked_for_its_memory_kills():
    assert oom_kills() >= 0

"""The shell's streams may be closed, or know few characters: that is no reason for a traceback."""

import os
import subprocess
import sys

import pytest

SHOW = [sys.executable, "-m", "foresight", "gates"]


@pytest.mark.parametrize(("closed", "shown"), [("<&-", True), ("2>&-", True), (">&-", False), ("<&- >&- 2>&-", False)])
def test_a_closed_stream_swallows_what_is_written(toy, closed, shown):
    words = " ".join(SHOW)
    done = subprocess.run(["sh", "-c", f"{words} {closed}"], env=toy.environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr, bool(done.stdout)) == (0, "", shown)


def test_what_is_opened_later_gets_no_number_of_a_closed_stream(toy):
    code = "from foresight import streams; streams.mend(); import os; os._exit(min(os.open('/dev/null', 0), 3))"
    done = subprocess.run(["sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, code], env=toy.environment)
    assert done.returncode == 3


def test_a_terminal_without_unicode_still_says_which_way_a_threshold_goes(toy):
    encoded = {**os.environ, **toy.environment, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "foresight", "plan", "cost", "c1"], env=encoded, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "<= $0.01" in done.stdout

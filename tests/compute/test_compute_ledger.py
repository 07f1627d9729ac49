import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from foresight.compute import ledger
from foresight.compute.ledger import CallEntry, StepEntry
from foresight.compute.process import Process
from foresight.errors import UserError
from foresight.files import write_json
from foresight.home import Home


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def entry(call_id="c1", run_id="r1", **fields):
    fields = {"backend": "local", "submitted_at": ledger.now(), **fields}
    return CallEntry(call_id=call_id, run_id=run_id, steps=(StepEntry(label="s", fingerprint="ab" * 32),), **fields)


def test_calls_are_found_by_run_or_alone_oldest_first(home):
    ledger.write_call(home, entry("late", submitted_at="2026-01-02"))
    ledger.write_call(home, entry("early", submitted_at="2026-01-01"))
    ledger.write_call(home, entry("other", run_id="r2", submitted_at="2026-01-03"))
    write_json(home.ledger / "r1" / "run.json", {"not": "a call"})
    ledger.request_cancel(home, "r1")
    assert [call.call_id for call in ledger.list_calls(home, "r1")] == ["early", "late"]
    assert [call.call_id for call in ledger.list_calls(home)] == ["early", "late", "other"]
    assert ledger.find_call(home, "other").run_id == "r2"
    with pytest.raises(UserError, match="no call 'gone'"):
        ledger.find_call(home, "gone")
    assert ledger.list_calls(home, "no-such-run") == []


def test_a_call_lives_as_long_as_its_process(home):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ledger.write_call(home, entry(process=Process.of(child.pid), state="running"))
    assert ledger.is_alive(ledger.find_call(home, "c1"))
    child.communicate(b"\n")
    assert not ledger.is_alive(ledger.find_call(home, "c1"))


def test_a_call_without_a_process_yet_is_not_live_and_a_remote_one_is_until_it_ended(home):
    assert not ledger.is_alive(entry())
    assert ledger.is_alive(entry(backend="modal"))
    assert not ledger.is_alive(entry(backend="modal", state="ended"))


def test_changes_from_many_threads_are_all_kept(home):
    ledger.write_call(home, entry())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ledger.update_call(home, "r1", "c1", log_cursor=n), range(1, 40)))
        changes = [pool.submit(ledger.update_call, home, "r1", "c1", log_cursor=99) for _ in range(5)]
        changes.append(pool.submit(ledger.update_call, home, "r1", "c1", ended_at="now"))
        changes.append(pool.submit(ledger.update_call, home, "r1", "c1", state="ended"))
        for change in changes:
            change.result()
    final = ledger.find_call(home, "c1")
    assert (final.log_cursor, final.ended_at, final.state) == (99, "now", "ended")


def test_cancel_of_a_run_and_of_one_call(home):
    ledger.write_call(home, entry())
    ledger.request_cancel(home, "r1", "c1")
    assert ledger.cancel_requested(home, "r1", "c1")
    assert not ledger.cancel_requested(home, "r1")
    assert not ledger.cancel_requested(home, "r1", "c2")
    ledger.request_cancel(home, "r1")
    ledger.request_cancel(home, "r1")
    assert ledger.cancel_requested(home, "r1", "c2")
    ledger.clear_cancel(home, "r1")
    assert not ledger.cancel_requested(home, "r1")
    assert ledger.cancel_requested(home, "r1", "c1")


@pytest.mark.parametrize("run_id", ["slots", "", "../x", ".hidden"])
def test_a_run_id_that_is_no_file_name_is_refused(home, run_id):
    with pytest.raises(UserError, match="run or call id"):
        ledger.write_call(home, entry(run_id=run_id))


def test_an_entry_of_another_version_is_named(home):
    write_json(home.ledger / "r1" / "c1.json", {"call": 1})
    with pytest.raises(UserError, match=r"c1\.json is no ledger entry"):
        ledger.list_calls(home)

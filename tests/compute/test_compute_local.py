import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import compute_executors
import psutil
import pytest
from compute_executors import EXECUTORS, call, step

from foresight.compute import ledger, local
from foresight.compute.claim import Holder, is_claimed, try_claim
from foresight.compute.local import LocalBackend
from foresight.errors import StepFailed
from foresight.files import read_json
from foresight.home import Home
from foresight.results.record import read_record

PRELOAD = ("foresight.compute.worker", "numpy.random")
HERE = Path(__file__).parent
BOUND_S = 100.0  # for what never comes, on a machine that has five times as much to do as it can


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    """Shared, so that one fork server serves most tests; `salted` keeps their steps apart."""
    home = Home(tmp_path_factory.mktemp("shared"))
    with LocalBackend(home, slots=4, executors=EXECUTORS, preload=PRELOAD) as backend:
        yield backend


@pytest.fixture(autouse=True)
def salted(request, monkeypatch):
    monkeypatch.setattr(compute_executors, "salt", request.node.name)


@pytest.fixture
def home(request, tmp_path):
    """The shared backend's, for tests that use it."""
    return request.getfixturevalue("backend")._home if "backend" in request.fixturenames else Home(tmp_path / "home")


def until(condition, what="it"):
    """Poll, with a bound."""
    deadline = time.monotonic() + BOUND_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    pytest.fail(f"{what} did not happen within {BOUND_S} s")


def finish(backend, call_id):
    assert backend.poll(call_id, BOUND_S) == "finished"
    return backend.outcome(call_id)


def run(backend, *steps, run_id="run"):
    return finish(backend, backend.submit(call(*steps), run_id=run_id))


def all_logs(backend, call_id):
    lines, cursor = [], 0
    while True:
        new, cursor = backend.logs(call_id, cursor)
        lines += new
        if not new:
            return lines


def pids_of(backend, call_id):
    """Of a `wait_for` step that has begun: itself, its child, and its child in a session of its own."""
    line = until(lambda: next((x.text for x in all_logs(backend, call_id) if x.text.startswith("pids")), None), "begin")
    return [int(pid) for pid in line.split()[1:]]


def is_dead(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def attempt_of(home, each, number=1):
    return read_json(home.step(each.fingerprint) / "attempts" / str(number) / "attempt.json")


# ---------------------------------------------------------------------- a call that goes well


def test_a_call_runs_elsewhere_and_its_lines_and_outcome_come_back(backend, home):
    first, second = step("work", text="apples"), step("work", text="pears")
    call_id = backend.submit(call(first, second), run_id="run")
    outcomes = finish(backend, call_id)
    assert [outcome.status for outcome in outcomes] == ["completed", "completed"]
    assert read_record(home, first.fingerprint).run_id == "run"
    assert [(line.text, line.progress, line.step) for line in all_logs(backend, call_id)] == [
        ("working on apples", None, first.label),
        ("from a child: apples", None, first.label),
        ("half of apples", 0.5, first.label),
        ("working on pears", None, second.label),
        ("from a child: pears", None, second.label),
        ("half of pears", 0.5, second.label),
    ]


def test_the_ledger_knows_the_call_while_it_runs_and_after(backend, home, tmp_path):
    go = tmp_path / "go"
    call_id = backend.submit(call(step("wait_for", file=str(go))), run_id="run")
    entry = ledger.find_call(home, call_id)
    assert (entry.state, entry.run_id, entry.backend, entry.label) == (
        "running",
        "run",
        "local",
        step("wait_for", file=str(go)).label,
    )
    assert entry.pid == pids_of(backend, call_id)[0]
    assert entry.owner.pid == os.getpid()
    assert ledger.is_alive(entry)
    with pytest.raises(ValueError, match="still running"):
        backend.outcome(call_id)
    assert backend.poll(call_id, 0.0) == "running"
    go.touch()
    finish(backend, call_id)
    entry = ledger.find_call(home, call_id)
    assert entry.state == "ended"
    assert entry.ended_at
    assert not ledger.is_alive(entry)
    assert (home.root / entry.log_path).exists()


def test_the_ledger_is_written_before_any_work(backend, home, monkeypatch):
    seen = []
    spawn = backend._server.spawn

    def spy(*args, **kwargs):
        seen.extend(entry.state for entry in ledger.list_calls(home, "spied"))
        return spawn(*args, **kwargs)

    monkeypatch.setattr(backend._server, "spawn", spy)
    run(backend, step("work"), run_id="spied")
    assert seen == ["submitted"]


def test_lines_stream_while_it_runs(backend, tmp_path):
    go = tmp_path / "go"
    call_id = backend.submit(call(step("wait_for", file=str(go))), run_id="run")
    pids_of(backend, call_id)  # a line came while it was running
    assert backend.poll(call_id, 0) == "running"
    go.touch()
    finish(backend, call_id)


def test_no_line_is_lost_and_none_is_twice(backend):
    call_id = backend.submit(call(step("print", lines=30_000)), run_id="run")
    lines, cursor = [], 0
    while True:
        state = backend.poll(call_id, 0.01)
        new, cursor = backend.logs(call_id, cursor)
        lines += new
        if state != "running":
            break
    assert [line.text for line in lines] == [f"line {n}" for n in range(30_000)]


def test_binary_and_huge_lines_do_no_harm(backend):
    call_id = backend.submit(call(step("binary")), run_id="run")
    (outcome,) = finish(backend, call_id)
    assert outcome.status == "completed"
    lines = all_logs(backend, call_id)
    assert lines[0].text == "\ufffd\ufffd\ufffdred"
    assert "bytes)" in lines[1].text
    assert [line.text for line in lines[-4:]] == [
        "done",
        "::progress nonsense",
        "::progress 7 too much",
        "no newline at the end",
    ]
    assert all(len(line.text) < 10_000 and line.progress is None for line in lines)


def test_the_child_stands_where_the_parent_stands_now(backend, monkeypatch, tmp_path):
    run(backend, step("work"))  # the server has started before
    monkeypatch.setenv("SET_LATER", "yes")
    monkeypatch.chdir(tmp_path)
    call_id = backend.submit(call(step("environment", names=["SET_LATER", "OMP_NUM_THREADS"])), run_id="run")
    finish(backend, call_id)
    assert [line.text for line in all_logs(backend, call_id)] == [
        "SET_LATER=yes",
        "OMP_NUM_THREADS=1",
        f"main None cwd {tmp_path}",
    ]


def test_children_draw_different_numbers(backend, home):
    steps = [step("random", n=n) for n in range(3)]
    for each in steps:
        run(backend, each)
    assert len({read_record(home, each.fingerprint).metrics["draw"] for each in steps}) == 3


def test_many_threads_at_once(backend, home):
    steps = [step("work", text=str(n)) for n in range(24)]
    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(lambda each: run(backend, each)[0], steps))
    assert {outcome.status for outcome in outcomes} == {"completed"}
    assert all(read_record(home, each.fingerprint) for each in steps)


# ---------------------------------------------------------------------- a call that does not


def test_a_failed_step_keeps_its_cause(backend, home):
    bad = step("raise")
    outcomes = run(backend, bad, step("work"))
    assert [(outcome.status, outcome.cause) for outcome in outcomes] == [("failed", "exception"), ("completed", None)]
    assert "ZeroDivisionError" in attempt_of(home, bad)["traceback"]


@pytest.mark.parametrize(
    ("number", "says", "retryable"),
    [(signal.SIGKILL, "SIGKILL", True), (signal.SIGTERM, "SIGTERM", True), (signal.SIGSEGV, "SIGSEGV", False)],
)
def test_death_by_a_signal_is_named_and_loses_only_its_step(backend, home, number, says, retryable):
    before, dies, after = step("work"), step("kill_self", number=int(number)), step("work", text="after")
    outcomes = run(backend, before, dies, after)
    assert [(o.status, o.cause, o.retryable) for o in outcomes] == [
        ("completed", None, False),
        ("failed", "signal", retryable),
        ("failed", "lost", True),
    ]
    assert says in outcomes[1].error
    assert attempt_of(home, dies)["cause"] == "signal"
    assert "about to die" in (home.step(dies.fingerprint) / "attempts/1/log.txt").read_text()
    assert not is_claimed(home, dies.fingerprint)


def test_a_crash_in_native_code_leaves_its_stack_in_the_log(backend, home):
    crash = step("crash_native")
    (outcome,) = run(backend, crash)
    assert (outcome.cause, outcome.retryable) == ("signal", False)
    assert "SIGSEGV" in outcome.error
    assert "do_crash_native" in (home.step(crash.fingerprint) / "attempts/1/log.txt").read_text()


def test_a_kill_with_memory_evidence_is_out_of_memory(backend, home, monkeypatch):
    kills = iter([3, 4])
    monkeypatch.setattr(local, "oom_kills", lambda: next(kills))
    (outcome,) = run(backend, step("kill_self", number=int(signal.SIGKILL)))
    assert (outcome.cause, outcome.retryable) == ("out_of_memory", True)


def test_an_exit_in_the_middle_is_an_exception(backend):
    (outcome,) = run(backend, step("hard_exit"))
    assert (outcome.cause, outcome.retryable) == ("exception", False)
    assert "exit code 3" in outcome.error


def test_a_timeout_kills_the_group_and_is_per_attempt(backend, home, tmp_path):
    slow = step("wait_for", file=str(tmp_path / "never"), timeout_s=0.5)
    call_id = backend.submit(call(step("work"), slow, step("work", text="after")), run_id="run")
    pids = pids_of(backend, call_id)
    outcomes = finish(backend, call_id)
    assert [outcome.cause for outcome in outcomes] == [None, "timeout", "lost"]
    assert not outcomes[1].retryable
    assert "limit of 0.5 s" in outcomes[1].error
    assert all(map(is_dead, pids))
    assert attempt_of(home, slow)["cause"] == "timeout"


def test_cancel_returns_when_everything_is_dead(backend, home, tmp_path):
    work = step("wait_for", file=str(tmp_path / "never"))
    call_id = backend.submit(call(work, step("work")), run_id="run")
    pids = pids_of(backend, call_id)
    backend.cancel(call_id)
    assert all(map(is_dead, pids))
    backend.cancel(call_id)
    outcomes = backend.outcome(call_id)
    assert [(o.cause, o.retryable) for o in outcomes] == [("cancelled", False)] * 2
    assert attempt_of(home, work)["cause"] == "cancelled"
    assert not is_claimed(home, work.fingerprint)


def test_another_process_can_cancel_and_the_owner_knows_why(backend, home, tmp_path):
    """A cancel hook runs in a fresh process that has only the ledger."""
    call_id = backend.submit(call(step("wait_for", file=str(tmp_path / "never"))), run_id="run")
    pids = pids_of(backend, call_id)
    hook = LocalBackend(home, executors=EXECUTORS, preload=PRELOAD)
    assert hook.attach(call_id) == "running"
    assert hook.poll(call_id, 0.0) == "running"
    hook.cancel(call_id)
    assert all(map(is_dead, pids))
    assert hook.attach(call_id) == "finished"
    assert hook.outcome(call_id)[0].cause == finish(backend, call_id)[0].cause == "cancelled"


def test_a_claimed_step_is_left_to_its_holder(backend, home):
    work = step("work")
    with try_claim(home, work.fingerprint, Holder.here("other", "run")):
        assert run(backend, work)[0].status == "claimed_elsewhere"
    assert run(backend, work)[0].status == "completed"


def test_the_server_s_death_is_survived(backend, home, tmp_path):
    work = step("wait_for", file=str(tmp_path / "never"))
    call_id = backend.submit(call(work), run_id="run")
    pids = pids_of(backend, call_id)
    psutil.Process(pids[0]).parent().kill()
    (outcome,) = finish(backend, call_id)
    assert (outcome.cause, outcome.retryable) == ("lost", True)
    assert all(map(is_dead, pids))
    assert run(backend, step("work"))[0].status == "completed"


# ---------------------------------------------------------------------- slots


def test_no_more_calls_than_slots(home, tmp_path):
    """Over two backends, as of two processes."""
    files = [tmp_path / str(n) for n in range(3)]
    with (
        LocalBackend(home, slots=2, executors=EXECUTORS, preload=PRELOAD) as one,
        LocalBackend(home, slots=2, executors=EXECUTORS, preload=PRELOAD) as two,
        ThreadPoolExecutor(1) as pool,
    ):
        first = one.submit(call(step("wait_for", file=str(files[0]))), run_id="run")
        second = two.submit(call(step("wait_for", file=str(files[1]))), run_id="run")
        third = pool.submit(two.submit, call(step("wait_for", file=str(files[2]))), run_id="run")
        for call_id, backend in ((first, one), (second, two)):
            pids_of(backend, call_id)
        assert not third.done()
        assert len(ledger.list_calls(home)) == 2
        files[0].touch()
        finish(one, first)
        pids_of(two, third.result(BOUND_S))
        files[1].touch()
        files[2].touch()
        finish(two, second)
        finish(two, third.result())


def test_a_killed_call_gives_its_slot_back(home):
    with LocalBackend(home, slots=1, executors=EXECUTORS, preload=PRELOAD) as backend:
        run(backend, step("kill_self", number=int(signal.SIGKILL)))
        assert run(backend, step("work"))[0].status == "completed"


def test_waiting_for_a_slot_ends_with_the_run(home, tmp_path):
    with LocalBackend(home, slots=1, executors=EXECUTORS, preload=PRELOAD) as backend:
        backend.submit(call(step("wait_for", file=str(tmp_path / "never"))), run_id="run")
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(backend.submit, call(step("work", text=n)), run_id="other") for n in "abc"]
            ledger.request_cancel(home, "other")
            for submission in waiting:
                with pytest.raises(StepFailed, match="before it was started") as caught:
                    submission.result(BOUND_S)
                assert (caught.value.cause, caught.value.retryable) == ("cancelled", False)
    assert [entry.run_id for entry in ledger.list_calls(home)] == ["run"]


# ---------------------------------------------------------------------- life and death of the parent

PARENT = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
import compute_executors
from compute_executors import EXECUTORS, call, step
from foresight.compute.local import LocalBackend
compute_executors.salt = {salt!r}
from foresight.home import Home
with Path({ran!r}).open("a") as stream:
    stream.write(__name__ + "\\n")
def main():
    backend = LocalBackend(Home(Path({home!r})), slots=2, executors=EXECUTORS, preload={preload!r})
    call_id = backend.submit(call(step("wait_for", file={file!r})), run_id="run")
    print(call_id, flush=True)
    backend.poll(call_id, 60)
    print([o.status for o in backend.outcome(call_id)], flush=True)
    {end}
"""


@pytest.fixture
def parent(tmp_path, home):
    """Starts a process that submits a call and waits for it."""
    started = []

    def start(arguments, *, end="backend.close()", run_main="main()"):
        text = PARENT.format(
            here=str(HERE),
            salt=compute_executors.salt,
            ran=str(tmp_path / "ran"),
            home=str(home.root),
            preload=PRELOAD,
            file=str(tmp_path / "go"),
            end=end,
        )
        (tmp_path / "tool").mkdir(exist_ok=True)
        (tmp_path / "tool" / "__init__.py").touch()
        (tmp_path / "tool" / "__main__.py").write_text(text + run_main + "\n")
        (tmp_path / "console").write_text(text + 'if __name__ == "__main__":\n    ' + run_main + "\n")
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if arguments == ["-"]:  # as a notebook: a __main__ with no file
            process.stdin.write(text + run_main + "\n")
        process.stdin.close()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("arguments", [["console"], ["-m", "tool"], ["-m", "tool.__main__"], ["-"]], ids=str)
def test_any_kind_of_parent_runs_its_main_once(parent, home, tmp_path, arguments):
    process = parent(arguments)
    assert process.stdout.readline().startswith("local-")
    (tmp_path / "go").touch()
    assert process.stdout.readline() == "['completed']\n"
    assert process.wait(BOUND_S) == 0
    assert (tmp_path / "ran").read_text().splitlines() == ["__main__"]


@pytest.mark.parametrize("server", ["lives", "is stopped"])
def test_kill_9_of_the_parent_kills_everything(parent, home, tmp_path, server):
    process = parent(["console"])
    call_id = process.stdout.readline().strip()
    watcher = LocalBackend(home, executors=EXECUTORS, preload=PRELOAD)
    pids = pids_of(watcher, call_id)
    fork_server = psutil.Process(pids[0]).parent()
    if server == "is stopped":
        fork_server.suspend()  # it cannot help: the child must see to itself
    try:
        process.kill()
        process.wait()
        until(lambda: all(map(is_dead, pids)), "death of the call")
        until(lambda: watcher.attach(call_id) == "lost", "lost")
        if server == "lives":
            until(lambda: not fork_server.is_running(), "end of the fork server")
    finally:
        if fork_server.is_running():
            fork_server.kill()
    work = step("wait_for", file=str(tmp_path / "go"))
    (outcome,) = watcher.outcome(call_id)
    assert (outcome.status, outcome.cause, outcome.retryable, outcome.attempt) == ("failed", "lost", True, 1)
    until(lambda: not is_claimed(home, work.fingerprint), "a free claim")
    watcher.cancel(call_id)
    assert watcher.attach(call_id) == "finished"
    assert watcher.outcome(call_id)[0].cause == "cancelled"
    (tmp_path / "go").touch()
    with watcher:
        assert run(watcher, work)[0].attempt == 2


def test_a_parent_that_just_ends_leaves_no_process(parent, home, tmp_path):
    process = parent(["console"], end="")
    call_id = process.stdout.readline().strip()
    worker = pids_of(LocalBackend(home), call_id)[0]
    fork_server = psutil.Process(worker).parent()
    (tmp_path / "go").touch()
    process.wait(BOUND_S)
    until(lambda: not fork_server.is_running(), "end of the fork server")


def test_close_leaves_no_process(home, tmp_path):
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    backend = LocalBackend(home, slots=2, executors=EXECUTORS, preload=PRELOAD)
    work = step("wait_for", file=str(tmp_path / "never"))
    call_id = backend.submit(call(work), run_id="run")
    pids = pids_of(backend, call_id)
    backend.close()
    backend.close()
    assert all(map(is_dead, pids))
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
    assert backend.outcome(call_id)[0].cause == "cancelled"
    with pytest.raises(StepFailed, match="before it was started"):
        backend.submit(call(step("work")), run_id="run")


def test_finished_work_leaves_no_grandchildren(backend, tmp_path):
    (tmp_path / "go").touch()
    call_id = backend.submit(call(step("wait_for", file=str(tmp_path / "go"))), run_id="run")
    finish(backend, call_id)
    assert all(map(is_dead, pids_of(backend, call_id)))


def test_ctrl_c_in_the_terminal_does_not_reach_the_worker(backend, tmp_path):
    call_id = backend.submit(call(step("wait_for", file=str(tmp_path / "go"))), run_id="run")
    pid = pids_of(backend, call_id)[0]
    assert os.getpgid(pid) == os.getsid(pid) == pid
    server = psutil.Process(pid).ppid()
    assert os.getsid(server) != os.getsid(0)
    (tmp_path / "go").touch()
    finish(backend, call_id)


WORK = """
from foresight.results.record import StepOutput
def execute(step, context):
    return StepOutput(metrics={"x": VALUE})
"""


def test_edited_code_is_never_run_old(home, tmp_path, monkeypatch):
    """What the server has imported before an edit must not be what a child runs after it."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "edited_work.py").write_text(WORK.replace("VALUE", "1"))
    executors = {"sub_experiment": "edited_work:execute"}
    with LocalBackend(home, slots=2, executors=executors, preload=(*PRELOAD, "edited_work")) as backend:
        first, second = step("x", n=1), step("x", n=2)
        run(backend, first)
        (tmp_path / "edited_work.py").write_text(WORK.replace("VALUE", "2.5"))
        run(backend, second)
    assert read_record(home, first.fingerprint).metrics == {"x": 1}
    assert read_record(home, second.fingerprint).metrics == {"x": 2.5}


def test_an_edit_does_not_disturb_what_runs(home, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "edited_too.py").write_text("")
    with LocalBackend(home, slots=2, executors=EXECUTORS, preload=(*PRELOAD, "edited_too")) as backend:
        running = backend.submit(call(step("wait_for", file=str(tmp_path / "go"))), run_id="run")
        (tmp_path / "edited_too.py").write_text("x = 1")
        run(backend, step("work"))
        assert backend.poll(running, 0) == "running"
        (tmp_path / "go").touch()
        assert finish(backend, running)[0].status == "completed"


def test_a_module_that_cannot_be_preloaded_is_said_and_survived(home, capfd):
    with LocalBackend(home, slots=1, executors=EXECUTORS, preload=(*PRELOAD, "no_such_module")) as backend:
        assert run(backend, step("work"))[0].status == "completed"
    assert "cannot import no_such_module ahead of time" in capfd.readouterr().err


def test_what_is_warm_already_is_taken_and_what_nobody_takes_ends(home, monkeypatch):
    monkeypatch.setattr(local, "modules_for", lambda job: PRELOAD)
    job = SimpleNamespace(request=SimpleNamespace(compute="local", stub_mode=False))
    before = set(psutil.Process().children())
    with local.warmed_up(job):
        (server,) = set(psutil.Process().children()) - before
        with LocalBackend(home, slots=1, executors=EXECUTORS, preload=PRELOAD) as backend:
            run(backend, step("work"))
            assert set(psutil.Process().children()) - before == {server}, "no second one was started"
        assert not server.is_running()
    with local.warmed_up(job):
        (untaken,) = set(psutil.Process().children()) - before
    assert not untaken.is_running()


def test_what_is_asked_for_is_called_once_in_the_server(home, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "looks.py").write_text(
        "def look():\n    with open("
        + repr(str(tmp_path / "looked"))
        + ", 'a') as file:\n        file.write('once ')\n"
    )
    with LocalBackend(home, slots=1, executors=EXECUTORS, preload=(*PRELOAD, "looks:look")) as backend:
        run(backend, step("work", n=1))
        run(backend, step("work", n=2))
    assert (tmp_path / "looked").read_text() == "once "


def test_this_module_imports_nothing_heavy():
    names = ["torch", "transformers", "diffusers", "prefect", "numpy"]
    code = f"import sys, foresight.compute.local; print([n for n in {names!r} if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_cancel_is_heard_while_the_server_still_imports(home, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slow_import.py").write_text("import time; time.sleep(600)")
    with (
        LocalBackend(home, slots=4, executors=EXECUTORS, preload=("slow_import",)) as backend,
        ThreadPoolExecutor(2) as pool,
    ):
        backend.warm_up()
        waiting = [pool.submit(backend.submit, call(step("work", n=n)), run_id="run") for n in range(2)]
        until(lambda: len(ledger.list_calls(home)) == 2, "submission")
        ledger.request_cancel(home, "run")
        for submission in waiting:
            with pytest.raises(StepFailed, match="before it was started"):
                submission.result(BOUND_S)
    assert {entry.state for entry in ledger.list_calls(home)} == {"ended"}


def test_a_crash_takes_its_group_along(backend, tmp_path):
    call_id = backend.submit(call(step("wait_for", file=str(tmp_path / "never"))), run_id="run")
    worker, child, loner = pids_of(backend, call_id)
    try:
        os.kill(worker, signal.SIGKILL)
        (outcome,) = finish(backend, call_id)
        until(lambda: is_dead(child), "death of the group")
        assert outcome.cause == "signal"
    finally:
        os.kill(loner, signal.SIGKILL)  # it left the group, and nobody could tell any more whose it was


def test_cancel_of_an_unknown_call_is_a_clear_error(backend):
    from foresight.errors import UserError

    with pytest.raises(UserError, match="no call 'local-nothing'"):
        backend.cancel("local-nothing")


def test_a_message_may_be_larger_than_a_pipe(backend, home):
    big = step("work", text="x", padding="y" * 3_000_000)
    assert run(backend, big)[0].status == "completed"
    assert read_record(home, big.fingerprint).identity == big.identity

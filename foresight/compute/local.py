"""LocalBackend: calls run in processes of this machine, forked from one that has imported torch already.

A call is a process with a session and process group of its own, so that it can be killed whole. It dies with the
process that submitted it; to attach to one that is dead answers *lost*, and what it had recorded is kept. What a call
does is in three files beside each other, `ledger/<run-id>/<call-id>.{json,log,journal.jsonl}`, so that any process can
follow it, and say how it ended, with no help from the one that started it.

One thread a call watches over it: it enforces the timeout of each attempt, waits for the end, and closes in the
journal what the worker itself could not.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from foresight.compute import ledger, planner, rates
from foresight.compute.backend import Call, CallState, LogLine, StepOutcome
from foresight.compute.causes import Trouble, oom_kills, trouble_of, trouble_of_exit
from foresight.compute.claim import is_claimed
from foresight.compute.executors import EXECUTORS
from foresight.compute.fork_server import Child, ForkServer, ServerGoneError
from foresight.compute.journal import read_journal
from foresight.compute.ledger import CallEntry, StepEntry
from foresight.compute.log_lines import read_lines
from foresight.compute.process import Process
from foresight.compute.request import Job
from foresight.compute.run_step import steps_to_json
from foresight.compute.settlement import journal_of, outcomes, overdue, settle
from foresight.compute.slots import Slots
from foresight.compute.threads import ONE_THREAD
from foresight.errors import StepFailed
from foresight.home import Home

LIGHT_PRELOAD = (
    "foresight.compute.worker",
    "foresight.compute.provenance:look",
    "foresight.models.identity",
    "foresight.runner",
    "numpy.random",
)
"""For a job that needs no model, such as a plan of one's own whose handlers only count."""

PRELOAD = (
    *LIGHT_PRELOAD,
    "torch",
    "torchvision",
    "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
    "transformers.models.auto.processing_auto",
    "transformers.models.dinov2.modeling_dinov2",
    "transformers.models.bit.image_processing_bit",
    "diffusers.models.autoencoders.autoencoder_kl_ltx",
    "scipy.stats",
    "skimage.metrics",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "sklearn.neighbors",
    "av",
    "matplotlib.figure",
    "safetensors.numpy",
)
"""What steps import, of others and of what is the same for all. Never handlers or probes: those are edited, and each
edit of what is preloaded costs a new server."""

WORKER = "foresight.compute.worker:work"


def modules_for(job: Job) -> tuple[str, ...]:
    return PRELOAD if planner.model_specs(job) else LIGHT_PRELOAD


_warm: dict[tuple[str, ...], ForkServer] = {}


@contextmanager
def warmed_up(job: Job) -> Iterator[None]:
    """Begin to import what the steps of a local job need, in a process beside this one, before there is a backend:
    Prefect takes as long to import. The next `LocalBackend` takes it; what is not taken ends with the context."""
    if job.request.compute != "local" or job.request.stub_mode:
        yield
        return
    modules = modules_for(job)
    server = _warm[modules] = ForkServer(modules, ENVIRONMENT)
    server.warm_up()
    try:
        yield
    finally:
        if _warm.pop(modules, None) is server:
            server.close()


ENVIRONMENT = {
    **ONE_THREAD,  # slots, not threads, share out the processors
    "TOKENIZERS_PARALLELISM": "false",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # looking for a GPU must not start CUDA in the server: no fork survives it
    "MPLBACKEND": "agg",
}

_WATCH_S = 0.1
_LOOK_S = 0.05
_CANCELLED = Trouble("cancelled", "cancelled")

logger = logging.getLogger(__name__)


@dataclass
class _Running:
    """A call that this process has submitted."""

    entry: CallEntry
    child: Child
    process: Process
    oom_kills_before: int
    stopped_for: Trouble | None = None  # set before it is killed on purpose
    over: threading.Event = field(default_factory=threading.Event)


class LocalBackend:
    """Implements `backend.Backend`. Safe from many threads; close it, or use it in a `with`."""

    name = "local"
    rates = rates.LOCAL
    poll_s = 0.25

    def __init__(
        self,
        home: Home,
        *,
        slots: int | None = None,
        executors: Mapping[str, str] = EXECUTORS,
        preload: Sequence[str] = PRELOAD,
    ) -> None:
        """`slots`: calls at once over all runs on this home; as many as there are processors if not given."""
        self._home = home.resolved()
        self._slots = Slots(self._home, slots or os.cpu_count() or 1)
        self._executors = dict(executors)
        warm = _warm.pop(tuple(preload), None)
        self._server = ForkServer(preload, ENVIRONMENT) if warm is None else warm
        self._calls: dict[str, _Running] = {}
        self._watchers: list[threading.Thread] = []
        self._closed = False

    def __enter__(self) -> LocalBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm_up(self) -> None:
        """Begin to import what steps need, while the caller does something else. Optional."""
        self._server.warm_up()

    def submit(self, call: Call, *, run_id: str) -> str:
        """Wait for a slot, then start the call. Raises `StepFailed` (cancelled) if the run is cancelled meanwhile."""
        slot = self._slots.take(lambda: self._require_wanted(run_id))
        try:
            return self._start(call, run_id, slot)
        finally:
            os.close(slot)  # the child has it too

    def attach(self, call_id: str) -> CallState:
        own = self._calls.get(call_id)
        if own is not None:
            return "finished" if own.over.is_set() else "running"
        entry = ledger.find_call(self._home, call_id)
        if journal_of(self._home, entry).is_over and entry.state == "ended":
            return "finished"
        is_owned = entry.state != "ended" and entry.owner is not None and entry.owner.is_alive()
        return "running" if is_owned or ledger.is_alive(entry) else "lost"

    def poll(self, call_id: str, timeout_s: float) -> CallState:
        own = self._calls.get(call_id)
        if own is not None:
            own.over.wait(timeout_s)
            return self.attach(call_id)
        deadline = time.monotonic() + timeout_s
        while (state := self.attach(call_id)) == "running" and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        return state

    def logs(self, call_id: str, cursor: int) -> tuple[Sequence[LogLine], int]:
        """While it runs at most 1 MiB at a time; once it has ended, everything that is left."""
        entry = self._entry(call_id)
        ended = self.attach(call_id) != "running"
        path = self._file(entry, ".log")
        end = path.stat().st_size if path.exists() else 0
        return read_lines(path, cursor, end, journal_of(self._home, entry).began, ended=ended)

    def late_logs(self, call_id: str, cursor: int, show: Callable[[Sequence[LogLine]], None]) -> None:
        """A worker that is dead has written all of them."""

    def outcome(self, call_id: str) -> Sequence[StepOutcome]:
        """Raises `ValueError` while the call runs."""
        if self.attach(call_id) == "running":
            raise ValueError(f"call {call_id} is still running")
        lost = Trouble("lost", "its process vanished with the run that started it", retryable=True)
        return outcomes(self._home, self._entry(call_id), lost)

    def cancel(self, call_id: str) -> None:
        """Kill the call, also one that another process submitted. Returns when everything of it is dead.

        Raises `StepFailed` if it cannot be killed.
        """
        entry = ledger.find_call(self._home, call_id)
        if self.attach(call_id) == "finished":
            return
        ledger.request_cancel(self._home, entry.run_id, call_id)  # so that whoever sees it die knows why
        own = self._calls.get(call_id)
        if own is not None:
            self._stop(own, _CANCELLED)
            own.over.wait()
            return
        if entry.process is not None:
            entry.process.kill_group()
        if entry.owner is None or not entry.owner.is_alive():
            settle(self._home, entry, _CANCELLED)
        while self.attach(call_id) == "running":  # its owner sees it die and tidies up
            time.sleep(_LOOK_S)

    def wait_for_claims(self, fingerprints: Sequence[str], check: Callable[[], None]) -> None:
        while any(is_claimed(self._home, fingerprint) for fingerprint in fingerprints):
            check()
            time.sleep(self.poll_s)

    def introduce(self, call_id: str) -> str:
        return ""

    def let_go(self, run_id: str) -> None:
        """Local work stops with its run."""
        ledger.request_cancel(self._home, run_id)

    def close(self) -> None:
        """Cancel what still runs and end the fork server. Nothing is left behind. Idempotent."""
        self._closed = True
        try:
            for running in list(self._calls.values()):
                if not running.over.is_set():
                    self.cancel(running.entry.call_id)
        finally:
            self._server.close()
            for watcher in self._watchers:
                watcher.join()

    def _require_wanted(self, run_id: str) -> None:
        if self._closed or ledger.cancel_requested(self._home, run_id):
            raise StepFailed("cancelled before it was started", cause="cancelled", retryable=False)

    def _start(self, call: Call, run_id: str, slot: int) -> str:
        entry = CallEntry(
            call_id=f"local-{uuid.uuid4().hex[:12]}",
            run_id=run_id,
            backend=self.name,
            steps=tuple(StepEntry(label=step.label, fingerprint=step.fingerprint) for step in call.steps),
            owner=Process.current(),
            submitted_at=ledger.now(),
            log_path=None,
        )
        log = self._file(entry, ".log")
        entry = entry.model_copy(update={"log_path": log.relative_to(self._home.root).as_posix()})
        ledger.write_call(self._home, entry)
        try:
            running = self._fork(call, entry, log, slot)
        except BaseException:
            ledger.update_call(self._home, run_id, entry.call_id, state="ended", ended_at=ledger.now())
            raise
        self._calls[entry.call_id] = running
        watcher = threading.Thread(target=self._watch, args=(running,), name=f"watch {entry.call_id}", daemon=True)
        running.child.go()
        watcher.start()
        self._watchers.append(watcher)
        return entry.call_id

    def _fork(self, call: Call, entry: CallEntry, log: Path, slot: int) -> _Running:
        """The call's process, known to the ledger and waiting to be told to go."""
        arguments = {"steps": steps_to_json(call), "home": str(self._home.root), "executors": self._executors}
        arguments |= {"call_id": entry.call_id, "run_id": entry.run_id}
        before = oom_kills()
        with log.open("ab") as output:
            try:
                child = self._server.spawn(
                    WORKER,
                    arguments,
                    output=output.fileno(),
                    hold=slot,
                    check=lambda: self._require_wanted(entry.run_id),
                )
            except ServerGoneError as error:
                self._require_wanted(entry.run_id)
                raise StepFailed(f"no process could be started: {error}", cause="lost", retryable=True) from error
        try:
            self._require_wanted(entry.run_id)
            process = Process.of(child.pid)
            ledger.update_call(self._home, entry.run_id, entry.call_id, process=process, state="running")
        except psutil.NoSuchProcess as error:
            child.close()
            raise StepFailed("its process was killed before it began", cause="lost", retryable=True) from error
        except BaseException:
            child.close()
            raise
        return _Running(entry, child, process, before)

    def _watch(self, running: _Running) -> None:
        """Until the call is dead; then write down how it ended."""
        status: int | None = None
        try:
            while (status := running.child.wait(_WATCH_S)) is None:
                late = overdue(read_journal(self._file(running.entry, ".journal.jsonl")))
                if late is not None:
                    self._stop(running, late)
        except ServerGoneError:
            running.process.kill_group()
        finally:
            self._finish(running, status)

    def _finish(self, running: _Running, status: int | None) -> None:
        running.child.close()
        try:
            settle(self._home, running.entry, self._trouble(running, status))
        except OSError as error:  # a full disk: `outcome` says *lost* of what could not be written down
            trouble = trouble_of(error, self._home.root)
            logger.error("cannot write down how call %s ended: %s", running.entry.call_id, trouble.error)
        finally:
            running.over.set()

    def _stop(self, running: _Running, trouble: Trouble) -> None:
        """Kill it on purpose. Raises `StepFailed` if it does not die."""
        running.stopped_for = running.stopped_for or trouble
        running.process.kill_group()

    def _trouble(self, running: _Running, status: int | None) -> Trouble:
        """Why what it had not finished is not finished."""
        if running.stopped_for is not None:
            return running.stopped_for
        if ledger.cancel_requested(self._home, running.entry.run_id, running.entry.call_id):
            return _CANCELLED
        if status is None:
            return Trouble("lost", "the fork server was killed, and its process with it", retryable=True)
        return trouble_of_exit(status, oom_killed=oom_kills() > running.oom_kills_before, root=self._home.root)

    def _entry(self, call_id: str) -> CallEntry:
        own = self._calls.get(call_id)
        return own.entry if own is not None else ledger.find_call(self._home, call_id)

    def _file(self, entry: CallEntry, suffix: str) -> Path:
        return ledger.call_file(self._home, entry.run_id, entry.call_id, suffix)

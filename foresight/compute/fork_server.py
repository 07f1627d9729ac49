"""A process that has imported what is slow to import, and forks: a worker in milliseconds instead of seconds.

multiprocessing's own fork server was tried first and does not fit, for reasons that no option of it changes:

- Its children import the parent's `__main__` again. Under a Prefect worker that is `prefect.flow_engine`: over a second
  for each call, and somebody else's module run twice.
- `Process.poll` is not safe from two threads (both read the one exit status, and the loser reports 255), and starting
  a process polls all the others. Calls here are started and watched from many threads of one process.
- It joins its children when the parent exits, or as daemons forbids them children of their own (data loaders).
- It leaves a resource tracker behind, hides imports that failed, and has no public way to end.

So this is a small one. The client sends a request (what to run, with which environment and directory, and the file
descriptors) over a socket and is sent the pid; the exit status arrives on a pipe of the child's own. The child works
only once it is told to, so that the ledger can know its pid first, and dies with the client: a thread of it waits for
the end of a pipe that only the client holds open, however the client ends, and then kills its whole process group.
Child code starts as the client stands: its environment, `sys.path` and working directory are the client's of now.

Project modules that the server has imported would be old if a file is edited in the life of a notebook. The server
then says so instead of forking, and the client starts a new one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from foresight.compute.fork_server_main import GO, STATUS, receive, send

_CLOSE_S = 10.0
_LOOK_S = 0.05
_TRIES = 4  # an edit, or a killed server, each costs one

logger = logging.getLogger(__name__)


class ServerGoneError(Exception):
    """The fork server died, which only somebody killing it brings about."""


class Child:
    """A forked worker, seen from the client. `go` and `wait` are for one thread; closing the client's end kills it."""

    def __init__(self, pid: int, life: int, status: int) -> None:
        self.pid = pid
        self._life, self._status = life, status

    def go(self) -> None:
        """Let it start working."""
        with contextlib.suppress(BrokenPipeError):  # killed already: `wait` tells
            os.write(self._life, GO)

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, or minus the number of the signal that killed it; None if it still runs after `timeout_s`.

        Raises `ServerGoneError` if the fork server died before it could tell.
        """
        if not _is_readable(self._status, timeout_s):
            return None
        told = os.read(self._status, STATUS.size)
        if not told:
            raise ServerGoneError("the fork server died")
        return int(STATUS.unpack(told)[0])

    def close(self) -> None:
        os.close(self._life)
        os.close(self._status)


class ForkServer:
    """The client's side. Starts the server when it is first needed; safe from many threads."""

    def __init__(self, preload: Sequence[str], environment: Mapping[str, str]) -> None:
        """`preload`: modules, and as `"module:function"` what is to be called once in the server.

        `environment` is set in the server and in every child, over what the client has.
        """
        self._preload, self._environment = tuple(preload), dict(environment)
        self._lock = threading.Lock()
        self._servers: list[_Server] = []  # the last one takes requests; the others have old code
        self._closed = False

    def warm_up(self) -> None:
        """Start the server without waiting until it has imported everything."""
        with self._lock:
            if not self._servers and not self._closed:
                self._servers.append(_Server(self._preload, self._environment))

    def spawn(
        self, target: str, arguments: Mapping[str, Any], *, output: int, hold: int, check: Callable[[], None]
    ) -> Child:
        """Fork a child that will run `"module:function"` with JSON `arguments` and exit with what that returns.

        `output` becomes its stdout and stderr; `hold` is kept open as long as it lives. It waits for `Child.go`.
        `check` is called while the server is still importing, and raises to give up. Raises `ServerGoneError` if the
        server cannot be started.
        """
        request = {
            "target": target,
            "arguments": dict(arguments),
            "environment": {**os.environ, **self._environment},
            "path": sys.path,
            "directory": str(Path.cwd()),
        }
        life_read, life_write = os.pipe()
        status_read, status_write = os.pipe()
        try:
            while not self._lock.acquire(timeout=_LOOK_S):
                check()
            try:
                pid = self._ask(request, (life_read, status_write, output, hold), check)
            finally:
                self._lock.release()
        except BaseException:
            os.close(life_write)
            os.close(status_read)
            raise
        finally:
            os.close(life_read)
            os.close(status_write)
        return Child(pid, life_write, status_read)

    def close(self) -> None:
        """End the server, and with it every child that still runs. Idempotent."""
        self._closed = True
        with self._lock:
            while self._servers:
                self._servers.pop().close()

    def _ask(self, request: Mapping[str, Any], descriptors: Sequence[int], check: Callable[[], None]) -> int:
        """The pid of the new child. A server that is gone, or has old code, is replaced."""
        trouble = ""
        for _ in range(_TRIES):
            if self._closed:
                raise ServerGoneError("the fork server is closed")
            if not self._servers or trouble:
                self._servers.append(_Server(self._preload, self._environment))
            reply = self._servers[-1].ask(request, descriptors, check)
            if reply is None:
                trouble = "the fork server ends as soon as it is started; what it printed says why"
                self._servers.pop().close()
            elif "pid" in reply:
                return int(reply["pid"])
            else:
                trouble = f"{reply['stale']} is edited again and again while it is being imported"
                logger.info("%s was edited: a new fork server takes over", reply["stale"])
        raise ServerGoneError(trouble)


class _Server:
    """One server process and the socket to it."""

    def __init__(self, preload: Sequence[str], environment: Mapping[str, str]) -> None:
        self._connection, theirs = socket.socketpair()
        self._is_ready = False
        start = "import json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
        start += "from foresight.compute.fork_server_main import serve; serve(int(sys.argv[2]), sys.argv[3:])"
        self._process = subprocess.Popen(
            [sys.executable, "-c", start, json.dumps(sys.path), str(theirs.fileno()), *preload],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C in a terminal is the client's to handle
        )
        theirs.close()

    def ask(
        self, request: Mapping[str, Any], descriptors: Sequence[int], check: Callable[[], None]
    ) -> dict[str, Any] | None:
        """Its reply, or None if it is dead. Only the wait for its imports is long enough to need `check`."""
        try:
            while not self._is_ready:
                check()
                if _is_readable(self._connection.fileno(), _LOOK_S):
                    message, _ = receive(self._connection)
                    if message is None:
                        return None
                    self._is_ready = True
            send(self._connection, request, descriptors)
            reply, _ = receive(self._connection)
        except (BrokenPipeError, ConnectionResetError):
            return None
        return reply

    def close(self) -> None:
        self._connection.close()
        if not self._is_ready:  # in the middle of an import, which may be slow, and with no children
            self._process.kill()
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _is_readable(descriptor: int, timeout_s: float) -> bool:
    """Whether there is something to read, or the other end is closed."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))

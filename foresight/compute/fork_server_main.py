"""The fork server's own side: import, wait, fork, tell how each child ended. See `fork_server` for why it exists.

It has one thread, since only the thread that forks lives on in the child, and a lock that another one held would stay
locked there for ever.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from foresight.compute.process import kill_descendants, kill_group

PROJECT = "foresight"
GO = b"g"
STATUS = struct.Struct("!i")

_LENGTH = struct.Struct("!Q")
_N_DESCRIPTORS = 4  # life, status, output, and one that a child only holds open
_INTERRUPTED = 130  # a shell's exit code for Ctrl-C


def send(connection: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    data = json.dumps(message).encode()
    socket.send_fds(connection, [_LENGTH.pack(len(data))], descriptors)
    connection.sendall(data)


def receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message and the descriptors that came with it; None at the end of the connection."""
    header, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, _N_DESCRIPTORS)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    if not header:
        return None, descriptors
    data = bytearray()
    (length,) = _LENGTH.unpack(header)
    while len(data) < length:
        block = connection.recv(min(length - len(data), 1 << 20))
        if not block:
            return None, descriptors
        data += block
    return json.loads(data), descriptors


def serve(descriptor: int, preload: Sequence[str]) -> None:
    """Import `preload`, then fork a child for each request until the client closes its end of the socket."""
    server = _Server(socket.socket(fileno=descriptor))
    server.preload(preload)
    gc.collect()
    gc.freeze()  # keep the collector from touching, and so copying, the shared pages
    server.serve()


# A supervisor may send them to all; the server goes when the run has gone.
FOR_THE_RUN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Server:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stamps: dict[str, tuple[int, int]] = {}  # file of a module -> its time and size when imported
        self._status_pipes: dict[int, int] = {}  # pid of a child -> where its exit status goes
        self._is_retired = False  # has old code: ends with its last child
        self._wake, wake_write = socket.socketpair()
        self._wake.setblocking(False)
        wake_write.setblocking(False)
        self._wake_write = wake_write
        signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in FOR_THE_RUN:
            signal.signal(number, signal.SIG_IGN)

    def preload(self, names: Sequence[str]) -> None:
        self._stamp()
        for name in names:
            if self._client_is_gone():
                os._exit(0)
            module, _, function = name.partition(":")
            try:
                imported = importlib.import_module(module)
                if function:
                    getattr(imported, function)()
            except ImportError as error:  # what needs it will say so again, as its own failure
                print(
                    f"foresight: cannot import {name} ahead of time ({error}): starting steps is slower",
                    file=sys.stderr,
                )
            self._stamp()

    def serve(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # the client is gone: `receive` finds out
            send(self._connection, {"ready": True})
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            selector.register(self._connection, selectors.EVENT_READ)
            while not self._is_retired or self._status_pipes:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._wake in ready:
                    self._drain()
                    self._reap()
                if self._connection in ready:
                    request, descriptors = receive(self._connection)
                    if request is None:
                        kill_descendants()  # they see to it themselves, unless native code keeps them from it
                        return
                    self._answer(request, descriptors)

    def _answer(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        edited = self._edited()
        if edited is not None:
            self._is_retired = True
            send(self._connection, {"stale": edited})
        else:
            life, status, output, hold = descriptors
            pid = os.fork()
            if pid == 0:
                self._become_child(request, life, status, output, hold)
            self._status_pipes[pid] = os.dup(status)
            send(self._connection, {"pid": pid})
        for descriptor in descriptors:
            os.close(descriptor)

    def _become_child(self, request: Mapping[str, Any], life: int, status: int, output: int, hold: int) -> NoReturn:
        exit_code = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            for descriptor in (self._connection.detach(), self._wake.detach(), self._wake_write.detach(), status):
                os.close(descriptor)
            for descriptor in self._status_pipes.values():
                os.close(descriptor)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            exit_code = _work(request, life, hold)
        except KeyboardInterrupt:
            exit_code = _INTERRUPTED
        except BaseException:  # noqa: BLE001 - a forked child must never return into the server's loop
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(exit_code)

    def _reap(self) -> None:
        """Tell how children ended. Their groups die with them, at once, before their ids can be anybody else's."""
        while self._status_pipes:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            kill_group(pid)
            pipe = self._status_pipes.pop(pid, None)
            if pipe is None:  # a child of something that was imported
                continue
            with contextlib.suppress(BrokenPipeError):  # the client no longer wants to know
                os.write(pipe, STATUS.pack(os.waitstatus_to_exitcode(status)))
            os.close(pipe)

    def _drain(self) -> None:
        try:
            while self._wake.recv(4096):
                pass
        except BlockingIOError:
            return

    def _client_is_gone(self) -> bool:
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(poll.poll(0)) and not self._connection.recv(1, socket.MSG_PEEK)

    def _stamp(self) -> None:
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file and file not in self._stamps and _may_be_edited(name, file):
                self._stamps[file] = _stamp_of(file)

    def _edited(self) -> str | None:
        return next((file for file, stamp in self._stamps.items() if _stamp_of(file) != stamp), None)


def _may_be_edited(name: str, file: str) -> bool:
    """Project modules and whatever else lies outside the installed environment."""
    return name.partition(".")[0] == PROJECT or not file.startswith((sys.prefix, sys.base_prefix))


def _stamp_of(file: str) -> tuple[int, int]:
    try:
        status = Path(file).stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _work(request: Mapping[str, Any], life: int, hold: int) -> int:
    """In the child: take the client's place in the world, wait to be told, and work. `hold` is only kept open."""
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:] = request["path"]
    os.chdir(request["directory"])
    importlib.invalidate_caches()
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed()  # all children would else draw the same numbers, and seeds would look as if they agreed
    told = threading.Event()
    threading.Thread(target=_die_with_client, args=(life, told), daemon=True).start()
    told.wait()
    module, _, name = request["target"].partition(":")
    return int(getattr(importlib.import_module(module), name)(**request["arguments"]))


def _die_with_client(life: int, told: threading.Event) -> None:
    if os.read(life, 1) == GO:
        told.set()
        os.read(life, 1)  # returns when the client closes its end, or dies
    try:
        kill_descendants()  # first those that left the group
    finally:
        os.killpg(0, signal.SIGKILL)

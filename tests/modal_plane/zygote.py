"""The process that containers are forked from: Python with Modal's runtime imported, and nothing of any app.

A script of its own, with one thread, so that a fork is whole. It saves each container a second of imports on one
core; what the app itself imports is imported in the container, from what was mounted there (`--preload` names
packages of this interpreter that a test would rather not wait for). It dies with the plane, and its containers with
it.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import sandbox

PR_SET_PDEATHSIG = 1
ENTRYPOINT = "modal._container_entrypoint"


def die_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the plane has gone already")


def serve(control: socket.socket) -> dict[str, Any] | None:
    """Forks for each request. Returns the specification in the child; None in the parent, when the plane is gone."""
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is not control:
                _, status = os.waitpid(key.data, 0)
                selector.unregister(key.fd)
                os.close(key.fd)
                control.send(json.dumps({"pid": key.data, "code": os.waitstatus_to_exitcode(status)}).encode())
                continue
            message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 2)
            if not message:
                return None
            parent, pid = os.getpid(), os.fork()
            if pid == 0:
                die_with_parent(parent)
                selector.close()
                control.close()
                os.setsid()
                for descriptor, standard in zip(descriptors, (1, 2), strict=True):
                    os.dup2(descriptor, standard)
                    os.close(descriptor)
                spec: dict[str, Any] = json.loads(Path(json.loads(message)["spec"]).read_text())
                return spec
            for descriptor in descriptors:
                os.close(descriptor)
            control.send(json.dumps({"pid": pid, "spec": json.loads(message)["spec"]}).encode())
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)


def inside(path: str, folders: list[str]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


def main() -> None:
    die_with_parent(int(sys.argv[2]))
    for name in [ENTRYPOINT, *sys.argv[3:]]:
        importlib.import_module(name)
    del sys.modules[ENTRYPOINT]
    control = socket.socket(fileno=int(sys.argv[1]))
    control.send(b"{}")
    spec = serve(control)
    if spec is None:
        return
    home = sandbox.enter(spec)
    os.environ.clear()
    os.environ.update(spec["environment"])
    hidden = [path for path in sys.path[1:] if inside(path, spec["hide"]) and not inside(path, spec["keep"])]
    sys.path[:] = [home, home, *(path for path in sys.path[1:] if path not in hidden)]
    sys.path_importer_cache.clear()
    # An editable install leads to the checkout without sys.path.
    sys.meta_path[:] = [finder for finder in sys.meta_path if not finder.__module__.startswith("__editable__")]
    sys.pycache_prefix = spec["environment"]["PYTHONPYCACHEPREFIX"]
    sys.dont_write_bytecode = False  # whoever runs the tests may not want it beside the sources; here it is the plane's
    sys.argv = [ENTRYPOINT]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a plane started in the background ignores it
    runpy.run_module(ENTRYPOINT, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

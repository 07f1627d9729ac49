"""The Prefect API that a run talks to.

Where `PREFECT_API_URL` is set (the environment or a Prefect profile), that server is used. Where `make up` runs in
this home, it is that one: two servers on one SQLite file get in each other's way, and the UI would not show the run.
Otherwise the run brings a server of its own: on loopback, on a free port, with its database under FORESIGHT_HOME, so
that no account and no set-up is needed and the history of runs stays. It dies with the run, also when the run is
killed with -9: it watches a pipe that only the run holds open.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from foresight import collector, interrupts
from foresight.errors import UserError
from foresight.home import Home

STARTUP_TIMEOUT_S = 120.0
NEEDED_MB = 20  # of disk: the database of a few runs


def prefect_environment(home: Home) -> dict[str, str]:
    """Settings for Prefect, here and in the server: state under FORESIGHT_HOME, nothing sent anywhere, quiet."""
    return {
        "PREFECT_HOME": str(home.prefect),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home.prefect}/prefect.db",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_UI_V2_ENABLED": "false",  # it has the browser ask amplitude.com, whatever is said above
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "DO_NOT_TRACK": "1",
    }


def configured_api_url() -> str | None:
    """The API that the user has chosen, from the environment or the active Prefect profile; read without Prefect."""
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    import tomllib

    profiles = Path(os.environ.get("PREFECT_HOME", Path.home() / ".prefect")) / "profiles.toml"
    try:
        content = tomllib.loads(profiles.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{profiles} is no valid TOML ({error}). Mend or remove it, then run again.") from error
    active = os.environ.get("PREFECT_PROFILE", content.get("active", ""))
    return content.get("profiles", {}).get(active, {}).get("PREFECT_API_URL")


def up_lock(home: Home) -> FileLock:
    """Held by `make up` as long as it lives."""
    return FileLock(home.prefect / "up.lock")


def up_address(home: Home) -> Path:
    """Where `make up` writes the address of its UI, once all of it is there."""
    return home.prefect / "up.url"


def running_here(home: Home, patience_s: float = STARTUP_TIMEOUT_S) -> str | None:
    """The API of the `make up` of this home, if one runs; one that is just starting is waited for, so long."""
    if not home.prefect.is_dir():
        return None
    deadline = time.monotonic() + patience_s
    while True:
        try:
            with up_lock(home).acquire(blocking=False):
                return None
        except Timeout:
            if up_address(home).exists():
                return f"{up_address(home).read_text().strip()}/api"
            if time.monotonic() > deadline:
                return None
            time.sleep(0.1)


def require_answer() -> None:
    """Raises `UserError` unless the user has chosen a server and it answers as one that this Prefect can talk to."""
    import httpx
    from prefect.client.orchestration import get_client

    url = configured_api_url()
    if url is None:
        raise UserError(
            "No Prefect server is chosen. `export PREFECT_API_URL=http://SERVER:4200/api` names one; `make up` brings "
            "one, with every deployment."
        )
    try:
        with get_client(sync_client=True) as client:
            client.raise_for_api_version_mismatch_once()  # which a flow would ask first, and end with a traceback
    except (RuntimeError, httpx.HTTPError) as error:
        why = re.sub(r" - For more information.*", "", str(error.__cause__ or error), flags=re.DOTALL)
        raise UserError(
            f"The Prefect server {url} cannot be used ({why}). Start it, correct PREFECT_API_URL (an address ends in "
            "/api), or unset it: then `foresight run` brings a server of its own."
        ) from error


class OwnServer:
    """A Prefect server of this run's own. `start` returns at once; `wait` until it answers."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        # Two fresh servers must not migrate one database at the same time.
        self._starting = FileLock(home.prefect / "starting.lock")
        self.url = ""

    def start(self, port: int = 0) -> None:
        """On `port`, or on one that is free."""
        self._home.prefect.mkdir(parents=True, exist_ok=True)
        self._starting.acquire()
        if port == 0:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        self._log = self._home.prefect / "server.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.server", str(port)],
                env={**os.environ, **prefect_environment(self._home), "PREFECT_API_URL": self.url},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Raises `UserError` if the server dies or does not answer in time."""
        assert self._process is not None
        deadline = time.monotonic() + STARTUP_TIMEOUT_S
        try:
            while time.monotonic() < deadline:
                if self._process.poll() is not None:
                    break
                try:
                    # Not `/health`: that answers before the routes are made, for which the next request would wait.
                    with urllib.request.urlopen(f"{self.url}/admin/version", timeout=5):
                        return
                except (urllib.error.URLError, OSError):
                    time.sleep(0.1)
        finally:
            self._starting.release()
        last = self._log.read_text(errors="replace").strip().splitlines()[-3:]
        self.stop()
        free_mb = shutil.disk_usage(self._log.parent).free / 1e6
        if free_mb < NEEDED_MB:
            raise UserError(
                f"The Prefect server of this run did not start: the disk of {self._log.parent} has {free_mb:.0f} MB "
                "free. Free some, or set FORESIGHT_HOME elsewhere."
            )
        raise UserError(
            "The Prefect server of this run did not start. Its last words: "
            + (" / ".join(last) or "none")
            + f". The whole log is {self._log}, on a disk with {free_mb:.0f} MB free; "
            "`foresight doctor` checks disk and pins."
        )

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        if self._starting.is_locked:
            self._starting.release()
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@contextmanager
def prefect_api(home: Home, *, log_level: str = "INFO") -> Iterator[OwnServer | None]:
    """Environment for Prefect in this process, and a server if the user has chosen none and none runs here.

    Yields the server that is still starting (call `wait` before the first flow), or None if another one is used.
    """
    server = None
    if configured_api_url() is not None:
        pass
    elif url := running_here(home):
        os.environ.update(prefect_environment(home) | {"PREFECT_API_URL": url})
    else:
        server = OwnServer(home)
        server.start()
        os.environ.update(prefect_environment(home))
        os.environ["PREFECT_API_URL"] = server.url
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", log_level)
    try:
        yield server
    finally:
        if server is not None:
            server.stop()


def _serve(port: int) -> None:
    """The server's own process: ends as soon as the run that started it is gone."""

    def watch() -> None:
        while os.read(0, 1):  # not through `sys.stdin`, which the interpreter cannot take from a thread as it ends
            pass
        os.killpg(0, signal.SIGKILL)

    # They are for the run, also where a supervisor sends one to all; the server goes when the run has gone.
    for number in interrupts.WORDS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
    with collector.importing():
        import uvicorn
        from prefect.server.api.server import create_app

    server = uvicorn.Server(
        uvicorn.Config(create_app, factory=True, host="127.0.0.1", port=port, log_level="error", lifespan="on")
    )
    server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]  # it would listen to them again
    server.run()
    sys.exit(0 if server.started else 3)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))

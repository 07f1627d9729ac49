"""`make up`: a Prefect server on loopback, every deployment, and one worker; Ctrl-C ends all of it.

Server and worker each hold the end of a pipe that this process keeps open, so that nothing outlives it, killed with -9
too. State lies under FORESIGHT_HOME: what ran stays in the UI of the next `make up`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

from filelock import Timeout

from flows.server import OwnServer, prefect_environment, up_address, up_lock
from foresight import interrupts
from foresight.errors import UserError
from foresight.files import write_atomic
from foresight.home import Home

PORT = 4200
LOOK_S = 1.0
HEARTBEAT_S = 30  # the least that Prefect takes; a flow run that was lost is marked four beats later
READY = """
  Prefect UI          {ui}
  runs at once        {limit} (FORESIGHT_UP_RUNS); logs of server and worker: {logs}
  state               {home}

Try, in another terminal:
  export PREFECT_API_URL={url}
  {bin}/prefect deployment run 'run-experiment/c1' -p profile=tiny --watch
  {bin}/prefect flow-run logs RUN_ID          # also: cancel RUN_ID, retry RUN_ID
  {bin}/prefect deployment schedule ls research-program/nightly   # the nightly is switched off; the UI has the switch

Ctrl-C stops everything; what is finished is kept."""


def up(home: Home, *, limit: int, port: int = PORT) -> None:
    """Until Ctrl-C, SIGTERM or the end of its terminal. Raises `UserError` if it runs already or does not start."""
    home.require_writable()
    home.prefect.mkdir(parents=True, exist_ok=True)
    lock, address = up_lock(home), up_address(home)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        where = address.read_text().strip() if address.exists() else "an address that it is about to print"
        raise UserError(f"It is up already, for {home.root}: {where}. Stop that one with Ctrl-C first.") from None
    server = OwnServer(home)
    try:
        _say("starting the Prefect server (20 s the first time, 8 s after)")
        server.start(_free(port))
        os.environ.update(prefect_environment(home) | {"PREFECT_API_URL": server.url, "FORESIGHT_HOME": str(home.root)})
        os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", str(HEARTBEAT_S))
        server.wait()
        _serve(home, server, limit, address)
    finally:
        address.unlink(missing_ok=True)
        server.stop()
        lock.release()
    _say("stopped; nothing is left running")


def _serve(home: Home, server: OwnServer, limit: int, address: Path) -> None:
    from flows import deploy, zombies  # Prefect reads its settings when it is imported
    from flows.worker import OwnWorker

    for line in zombies.mark_dead(home):
        _say(line)
    _say("deploying")
    _say(deploy.deploy(runs_at_once=limit))
    if again := zombies.reschedule_pending(deploy.POOL):
        _say(f"{again} flow run(s) that were taken and not started are scheduled again")
    worker = OwnWorker(home)
    try:
        ui = server.url.removesuffix("/api")
        write_atomic(address, ui + "\n")
        where = os.path.relpath(Path(sys.executable).parent)
        print(
            READY.format(ui=ui, url=server.url, bin=where, limit=limit, home=home.root, logs=home.prefect / "*.log"),
            flush=True,
        )
        while worker.is_alive() and server.is_alive():
            time.sleep(LOOK_S)
        name = "worker" if server.is_alive() else "server"
        raise UserError(f"The {name} has ended by itself; its log is {home.prefect / name}.log. All was stopped.")
    except KeyboardInterrupt:
        _say("stopping (flow runs under way are ended and can be retried)")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it running
        worker.stop()
        if server.is_alive():
            zombies.mark_dead(home)
            zombies.reschedule_pending(deploy.POOL)


def _free(wanted: int) -> int:
    """`wanted`, or any other if something listens there."""
    with socket.socket() as probe:
        return 0 if probe.connect_ex(("127.0.0.1", wanted)) == 0 else wanted


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _runs_at_once() -> int:
    given = os.environ.get("FORESIGHT_UP_RUNS") or "2"
    if not given.isdecimal() or int(given) < 1:
        raise UserError(f"FORESIGHT_UP_RUNS says how many flow runs work at once: a number from 1 on, not '{given}'.")
    return int(given)


def main() -> None:
    interrupts.listen(signal.SIGINT)  # which a shell that starts it with `&` has ignored
    try:
        up(Home.from_environment(), limit=_runs_at_once())
    except KeyboardInterrupt as error:
        stopped = interrupts.behind(error)
        sys.exit(stopped.exit_status if stopped else 130)
    except UserError as error:
        print(f"foresight: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

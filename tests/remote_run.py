"""A run in a process of its own, for a test to kill: `python remote_run.py HOME FOLDER N` follows N steps."""

from __future__ import annotations

import sys
from pathlib import Path

from remote import Remote, Run

from foresight.home import Home


def steps(remote: Remote, n: int) -> list:
    return [remote.step(f"step-{index}", sleep_s=1.5) for index in range(n)]


def main(home: str, folder: str, n: str) -> int:
    remote = Remote(None, Path(folder))  # type: ignore[arg-type]  # only the test asks the plane
    runs: list[Run] = [remote.run(step, home=Home(Path(home))).start() for step in steps(remote, int(n))]
    for run in runs:
        run.wait()
    failed = [run.failure for run in runs if run.failure is not None]
    print(*failed, sep="\n", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""The console script, also as `python -m foresight`."""

from __future__ import annotations

import gc
import sys

from foresight import collector, interrupts, streams


def main() -> None:
    """A signal while the modules are still being imported ends like any other: one line, no traceback."""
    streams.mend()
    interrupts.listen()
    try:
        with collector.importing():
            from foresight.cli import main as shell

        shell()
    except BaseException as error:
        stopped = None if isinstance(error, SystemExit) else interrupts.behind(error)
        if stopped is None:
            raise
        print(f"foresight: stopped by {stopped.by}", file=sys.stderr)
        sys.exit(stopped.exit_status)
    finally:
        gc.freeze()  # the process ends: what it held need not be searched


if __name__ == "__main__":
    main()

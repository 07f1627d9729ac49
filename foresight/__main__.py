"""The console script, also as `python -m foresight`."""

from __future__ import annotations

import gc
import sys

from foresight import collector, streams


def main() -> None:
    """Ctrl-C while the modules are still being imported ends like any other: exit 130, no traceback."""
    streams.mend()
    try:
        with collector.importing():
            from foresight.cli import main as shell

        shell()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        gc.freeze()  # the process ends: what it held need not be searched


if __name__ == "__main__":
    main()

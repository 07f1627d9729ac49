"""The console script, also as `python -m foresight`."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Ctrl-C while the modules are still being imported ends like any other: exit 130, no traceback."""
    gc.set_threshold(50_000)  # modules are made to stay: to look for garbage among them costs a tenth of their import
    try:
        from foresight.cli import main as shell

        shell()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

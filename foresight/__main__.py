"""The console script, also as `python -m foresight`."""

from __future__ import annotations

import sys


def main() -> None:
    """Ctrl-C while the modules are still being imported ends like any other: exit 130, no traceback."""
    try:
        from foresight.cli import main as shell

        shell()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

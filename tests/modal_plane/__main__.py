from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from .plane import Plane, Settings


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m modal_plane", description="A Modal control plane for tests.")
    parser.add_argument("--state", type=Path, required=True, help="the folder that holds all it remembers")
    parser.add_argument("--port", type=int, required=True)
    for name, default in vars(Settings()).items():
        if isinstance(default, (int, float, str)) and not isinstance(default, bool):
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    options = vars(parser.parse_args())
    folder, port = options.pop("state"), options.pop("port")

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await Plane(folder, port, **options).run(stop)

    asyncio.run(run())


if __name__ == "__main__":
    main()

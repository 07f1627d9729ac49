"""Work in a thread beside the caller's, that holds up nobody: neither who began it nor the end of the process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def beside(work: Callable[..., T], *arguments: object) -> Future[T]:
    """What it returns or raises is in the future. (A `ThreadPoolExecutor` is waited for when the process ends, and a
    request to a server that does not answer takes a minute.)"""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work(*arguments))
        except BaseException as error:  # noqa: BLE001 - for who asks the future
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future

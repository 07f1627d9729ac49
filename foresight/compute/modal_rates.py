"""The prices that the Modal account pays now, where it tells: asked once, within a few seconds, never a reason to fail.

`Workspace.billing.rates()` of the client; accounts whose plan or token may not see it, and machines without a token
or a network, get the table, and its basis says why.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache

import modal

from foresight.compute import rates
from foresight.compute.rates import Rates

TIMEOUT_S = 5.0
"""The client itself would try for a minute to reach a server that is not there."""


@cache
def account_rates() -> Rates:
    """The live rates of the account, or the table."""
    with ThreadPoolExecutor(1) as thread:  # the caller may be inside an event loop
        return thread.submit(lambda: asyncio.run(_ask())).result()


async def _ask() -> Rates:
    try:
        found = await asyncio.wait_for(modal.Workspace.from_context().billing.rates.aio(), TIMEOUT_S)
    except TimeoutError:
        return rates.table_because(f"Modal did not answer within {TIMEOUT_S:g} s")
    except modal.exception.Error as error:
        why = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
        return rates.table_because(why or type(error).__name__)
    return rates.of_account(found, f"{datetime.now(UTC):%Y-%m-%d}")

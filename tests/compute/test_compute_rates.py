"""A price is the account's own where Modal tells it, else the dated table's, and says which."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import grpclib
import pytest
from grpclib.server import Server
from modal_proto import api_grpc, api_pb2

from foresight.compute import gpus, rates
from foresight.compute.step import Resources


def test_a_container_costs_its_gpu_its_cores_and_its_memory():
    on_cpu = rates.TABLE.usd_per_second(Resources(device="cpu", memory_gb=16))
    assert on_cpu * 3600 == pytest.approx(4 * 0.0473 + 16 * 0.008)
    on_gpu = rates.TABLE.usd_per_second(Resources(device="A100-40GB", memory_gb=16))
    assert (on_gpu - on_cpu) * 3600 == pytest.approx(2.10)


def test_this_machine_costs_nothing_and_knows_every_class():
    assert rates.LOCAL.are_free
    assert not rates.TABLE.are_free
    for device in ("cpu", *gpus.GPU_CLASSES):
        assert rates.LOCAL.usd_per_second(Resources(device=device)) == 0
        assert rates.TABLE.usd_per_second(Resources(device=device)) > 0


def test_the_table_says_its_date():
    assert rates.TABLE.basis == "table of 2026-09-29"


def test_what_an_account_does_not_price_is_the_tables_and_is_named():
    found = rates.of_account(
        {"gpu_hour_cost_h100": "3.00", "cpu_hour_cost": "0.05", "egress_gib_cost": "9"}, "2026-11-26"
    )
    assert found.gpu_usd_per_hour["H100"] == 3.0
    assert found.gpu_usd_per_hour["A10"] == 1.10
    assert found.basis == "live rates of the account, 2026-11-26 (A10, A100-40GB, A100-80GB, GiB: table of 2026-09-29)"


class _Prices(api_grpc.ModalClientBase):
    """A Modal that knows nothing but its prices."""

    async def WorkspaceNameLookup(self, stream: grpclib.server.Stream) -> None:  # noqa: N802
        await stream.recv_message()
        await stream.send_message(api_pb2.WorkspaceNameLookupResponse(workspace_name="team", username="someone"))

    async def WorkspaceBillingRates(self, stream: grpclib.server.Stream) -> None:  # noqa: N802
        await stream.recv_message()
        prices = dict.fromkeys(rates.ACCOUNT_KEYS.values(), "1.25")
        await stream.send_message(api_pb2.WorkspaceBillingRatesResponse(rates=prices))


_Prices.__abstractmethods__ = frozenset()


@pytest.fixture
def modal_url() -> Iterator[str]:
    for name in api_grpc.ModalClientBase.__abstractmethods__ - vars(_Prices).keys():
        setattr(_Prices, name, _unimplemented)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(_serve())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    port = server._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    yield f"http://127.0.0.1:{port}"
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


async def _serve() -> Server:
    server = Server([_Prices()])
    await server.start("127.0.0.1", 0)
    return server


async def _unimplemented(_self: _Prices, _stream: grpclib.server.Stream) -> None:
    raise grpclib.GRPCError(grpclib.Status.UNIMPLEMENTED)


def _ask(**environment: str) -> str:
    """What the unmodified client makes of it, in a process of its own."""
    code = (
        "from foresight.compute.modal_rates import account_rates\n"
        "rates = account_rates()\n"
        "print(rates.basis, rates.gpu_usd_per_hour['A10'])"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODAL_")}
    environment = {**kept, "MODAL_CONFIG_PATH": "/nonexistent", **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=True
    ).stdout


def test_an_account_that_tells_its_prices_is_believed(modal_url: str):
    said = _ask(MODAL_SERVER_URL=modal_url, MODAL_TOKEN_ID="ak-test", MODAL_TOKEN_SECRET="as-test")
    assert said.startswith("live rates of the account, ")
    assert said.endswith(" 1.25\n")


def test_without_an_account_the_table_is_used_and_says_why():
    assert _ask() == "table of 2026-09-29 (no live rates: Token missing) 1.1\n"

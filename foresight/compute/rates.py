"""What a second of a container costs: Modal's prices, dated, or those that an account says it pays.

A container is billed for its GPU, its cores and its memory, each by the second, for as long as it exists. All numbers
here are in dollars an hour, as Modal's own client gives them. Whatever uses a price says where it is from (`basis`).

The table is what `modal billing rates` said on 2026-09-29, as several public projects have recorded it; the prices a
second of modal.com/pricing, read by others on 2026-10-04, are the same within rounding ($0.000306 an A10, $0.000583
an A100-40GB, $0.000694 an A100-80GB, $0.001097 an H100, $0.0000131 a core, $0.00000222 a GiB). Older sources have the
A100-80GB at $0.000833: prices change, so look at the date. Regions and non-preemptible containers cost more; nothing
here asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from foresight.compute.gpus import CPU
from foresight.compute.step import Resources

ACCOUNT_KEYS = {
    "A10": "gpu_hour_cost_a10g",
    "A100-40GB": "gpu_hour_cost_a100_40gb",
    "A100-80GB": "gpu_hour_cost_a100_80gb",
    "H100": "gpu_hour_cost_h100",
    "core": "cpu_hour_cost",
    "GiB": "mem_gib_hour_cost",
}
"""What the client's `Workspace.billing.rates()` calls each."""


@dataclass(frozen=True)
class Rates:
    basis: str  # "live rates of the account, 2026-11-26" or "table of 2026-09-29"
    gpu_usd_per_hour: Mapping[str, float]  # by class
    core_usd_per_hour: float
    gib_usd_per_hour: float

    def usd_per_second(self, resources: Resources) -> float:
        """Of a container with these resources."""
        gpu = 0.0 if resources.device == CPU else self.gpu_usd_per_hour[resources.device]
        return (gpu + resources.cores * self.core_usd_per_hour + resources.memory_gb * self.gib_usd_per_hour) / 3600

    @property
    def are_free(self) -> bool:
        return not any((*self.gpu_usd_per_hour.values(), self.core_usd_per_hour, self.gib_usd_per_hour))


TABLE = Rates(
    basis="table of 2026-09-29",
    gpu_usd_per_hour={"A10": 1.10, "A100-40GB": 2.10, "A100-80GB": 2.50, "H100": 3.95},
    core_usd_per_hour=0.0473,
    gib_usd_per_hour=0.008,
)

LOCAL = Rates(
    basis="this machine, which costs nothing",
    gpu_usd_per_hour=dict.fromkeys(TABLE.gpu_usd_per_hour, 0.0),
    core_usd_per_hour=0.0,
    gib_usd_per_hour=0.0,
)


def rates_of(compute: str) -> Rates:
    """What a second costs on `local` or `modal`; of the latter the account is asked, within a few seconds."""
    if compute == "local":
        return LOCAL
    from foresight.compute.modal_rates import account_rates  # half a second that only this pays

    return account_rates()


def of_account(found: Mapping[str, Any], day: str) -> Rates:
    """An account's own rates. What it does not name is taken from the table, and `basis` says so."""
    known = {name: float(found[key]) for name, key in ACCOUNT_KEYS.items() if key in found}
    missing = [name for name in ACCOUNT_KEYS if name not in known]
    basis = f"live rates of the account, {day}"
    return Rates(
        basis=basis + (f" ({', '.join(missing)}: {TABLE.basis})" if missing else ""),
        gpu_usd_per_hour={name: known.get(name, price) for name, price in TABLE.gpu_usd_per_hour.items()},
        core_usd_per_hour=known.get("core", TABLE.core_usd_per_hour),
        gib_usd_per_hour=known.get("GiB", TABLE.gib_usd_per_hour),
    )


def table_because(why: str) -> Rates:
    """The table, where there was reason to ask the account: `basis` says why it did not answer."""
    return replace(TABLE, basis=f"{TABLE.basis} (no live rates: {why})")

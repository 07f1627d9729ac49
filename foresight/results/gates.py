"""Gates: whether the next phase of the programme may start.

A gate is decided by the measured verdicts of its experiments in the one profile that moves gates (`real`), under the
plan as it stands now, and by nothing else (research-program.md sections 1 and 7):

    fail         a criterion is not met, or its value is at or beyond its failure level
    pending      otherwise, one is not measured, or rests on stand-in models, or on code that was not committed
    investigate  otherwise, one is marginal
    pass         every criterion of every experiment is met

In any other profile a gate is *not applicable* and lets the rehearsal through. A person may open a gate by an override
with name, date and reason. It is kept in `results/gates.json` and shown beside the measured verdict, never instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from foresight.errors import UserError
from foresight.files import write_json
from foresight.home import Home
from foresight.plan.schema import Experiment, Gate, Plan
from foresight.results import document, runs
from foresight.results.lineage import used_by, with_used
from foresight.results.record import Provenance, Record
from foresight.results.runs import Run

GateVerdict = Literal["pass", "fail", "investigate", "pending", "not applicable"]
MOVING_PROFILE = "real"


class Override(BaseModel):
    """A person's decision that a phase may start whatever was measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    date: str = Field(description="ISO 8601, UTC.")
    measured: GateVerdict = Field(description="What the gate said when it was overridden.")


@dataclass(frozen=True)
class Standing:
    """What one experiment contributes to a gate."""

    experiment: str  # short name
    verdict: GateVerdict
    reasons: tuple[str, ...]  # one a criterion that keeps the gate from passing


@dataclass(frozen=True)
class GateState:
    """The measured verdict of a gate, and what people have decided beside it."""

    gate: str
    unlocks_phase: int | None
    profile: str
    verdict: GateVerdict
    standings: tuple[Standing, ...]
    overrides: tuple[Override, ...]  # oldest first

    @property
    def opens(self) -> bool:
        """Whether the phase behind it may start."""
        return self.verdict in ("pass", "not applicable") or bool(self.overrides)

    @property
    def reason(self) -> str:
        """One sentence."""
        if self.verdict == "not applicable":
            return f"only the profile that moves gates decides; {self.profile} is a rehearsal"
        if self.verdict == "pass":
            return "every criterion is met"
        return "; ".join(f"{one.experiment}: {reason}" for one in self.standings for reason in one.reasons)


def evaluate(
    home: Home, plan: Plan, gate_id: str, *, profile: str = MOVING_PROFILE, moves_gates: bool | None = None
) -> GateState:
    """The state of a gate as seen from a run in `profile`. `moves_gates`: the profile's word; else only `real`.

    Raises `UserError` for an unknown gate or an unreadable gates.json or run.json.
    """
    gate = plan.gate(gate_id)
    overrides = tuple(read_overrides(home).get(gate.id, ()))
    if not (profile == MOVING_PROFILE if moves_gates is None else moves_gates):
        return GateState(gate.id, gate.unlocks_phase, profile, "not applicable", (), overrides)
    standings = tuple(_standing(home, plan.experiment(name), profile) for name in gate.experiments)
    said = {standing.verdict for standing in standings}
    order: tuple[GateVerdict, ...] = ("fail", "pending", "investigate", "pass")
    verdict = next(verdict for verdict in order if verdict in said)
    return GateState(gate.id, gate.unlocks_phase, profile, verdict, standings, overrides)


def before_phase(
    home: Home, plan: Plan, phase: int, *, profile: str, moves_gates: bool | None = None
) -> GateState | None:
    """The gate that unlocks `phase`, or None if nothing guards it."""
    gate: Gate | None = plan.gate_before(phase)
    return evaluate(home, plan, gate.id, profile=profile, moves_gates=moves_gates) if gate else None


def override(home: Home, plan: Plan, gate_id: str, *, by: str, reason: str) -> Override:
    """Open a gate by decision. Raises `UserError` without a name or a reason, or for an unknown gate."""
    by, reason = by.strip(), reason.strip()
    if not by or not reason:
        missing = "name" if not by else "reason"
        raise UserError(
            f"An override needs a {missing}: it stands beside the measured verdict for good. "
            f'Try: foresight gates override {gate_id} --by "Ada Lovelace" --reason "…".'
        )
    measured = evaluate(home, plan, gate_id).verdict
    entry = Override(by=by, reason=reason, date=datetime.now(UTC).isoformat(timespec="seconds"), measured=measured)
    home.results.mkdir(parents=True, exist_ok=True)
    with FileLock(home.results / ".gates.lock"):
        overrides = read_overrides(home)
        overrides[gate_id] = [*overrides.get(gate_id, []), entry]
        content = {gate: [one.model_dump() for one in entries] for gate, entries in overrides.items()}
        write_json(home.results / "gates.json", content)
    return entry


def read_overrides(home: Home) -> dict[str, list[Override]]:
    """By gate, oldest first. Raises `UserError` if the file is not what this module writes."""
    path = home.results / "gates.json"
    if not path.is_file():
        return {}
    try:
        return TypeAdapter(dict[str, list[Override]]).validate_json(path.read_text())
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({runs.explain(error)}). It holds overrides of gates, so none counts until "
            "it is whole again. Mend it, or move it away and override anew."
        ) from error


def _standing(home: Home, experiment: Experiment, profile: str) -> Standing:
    all_runs = runs.list_runs(home, experiment.id)
    valid = [run for run in all_runs if run.criteria_hash == runs.criteria_hash(experiment.criteria)]
    built = document.of_experiment(home, valid, profile=profile, plan_hash=experiment.hash)
    if built is None:
        elsewhere = any(run.has_run and run.level == profile for run in all_runs)
        why = (
            f"has run in {profile}, but under other criteria than the plan has now"
            if elsewhere
            else f"has not run in {profile}"
        )
        return Standing(experiment.short, "pending", (why,))
    stand_ins = built.content["stand_ins"]
    if stand_ins:
        return Standing(
            experiment.short, "pending", (f"measured on stand-ins ({', '.join(stand_ins)}), which do not count",)
        )
    if gone := _gone(home, built):
        return Standing(experiment.short, "pending", (f"rests on {gone}, whose record is gone: run it again",))
    if uncommitted := _uncommitted(home, built, all_runs):
        why = f"{uncommitted} measured with changes that were not committed, so that nobody can find the code again"
        return Standing(experiment.short, "pending", (f"{why}: commit them and run it with --refresh",))
    verdicts = [(_of_criterion(criterion), criterion) for criterion in built.content["criteria"]]
    order: tuple[GateVerdict, ...] = ("fail", "pending", "investigate", "pass")
    worst = next(verdict for verdict in order if any(verdict == own for own, _ in verdicts))
    reasons = (
        f"{criterion['name']} {criterion['verdict']}, {criterion['reason']}"
        for own, criterion in verdicts
        if own != "pass"
    )
    return Standing(experiment.short, worst, tuple(reasons))


def _deciding(built: document.Document) -> dict[str, list[Record]]:
    """The records of the sub-experiments that criteria are read from."""
    decide = {criterion["sub_experiment"] for criterion in built.content["criteria"]}
    return {sub_id: records for sub_id, records in built.records.items() if sub_id in decide}


def _gone(home: Home, built: document.Document) -> str:
    """Which sub-experiments that those that decide use have no record any more; empty if none."""
    deciding = [record for records in _deciding(built).values() for record in records]
    return ", ".join(dict.fromkeys(name for name, record in used_by(home, deciding) if record is None))


def _uncommitted(home: Home, built: document.Document, all_runs: Sequence[Run]) -> str:
    """Which sub-experiments that decide were computed, or started, from a changed checkout, or use one that was."""
    dirty_runs = {run.run_id for run in all_runs if run.git_dirty}
    found = [
        sub_id
        for sub_id, records in _deciding(built).items()
        if any(_is_changed(one.provenance) or one.run_id in dirty_runs for one in with_used(home, records))
    ]
    return f"{', '.join(found)} {'was' if len(found) == 1 else 'were'}" if found else ""


def _is_changed(provenance: Provenance) -> bool:
    """Also where git named a commit and was too slow to say whether that is what ran."""
    return bool(provenance.git_dirty or (provenance.git_commit and provenance.git_dirty is None))


def _of_criterion(criterion: dict) -> GateVerdict:
    if criterion["verdict"] == "not measured":
        return "pending"
    sign = 1 if criterion["direction"] == "higher" else -1
    if criterion["verdict"] == "not met" or sign * criterion["value"] <= sign * criterion["failure"]:
        return "fail"
    return "pass" if criterion["verdict"] == "met" else "investigate"

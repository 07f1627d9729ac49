"""One handler's workbench: what it is to work on, where it writes, and what it has left there so far.

Nothing here is held back until the handler returns: a metric is on disk when `log` returns, an artifact is whole or
absent. So a handler that raises in its last line leaves its curves and pictures in its attempt's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foresight import output
from foresight.files import canonical_json, sha256_file, write_atomic, write_data
from foresight.results.record import Artifact, Samples, StepOutput

METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class Assignment:
    """What one handler is to work on. All of it bears identity but `device`."""

    sub_experiment: str
    seed: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    data_specs: Mapping[str, Any] = field(default_factory=dict)  # name -> DataSpec as JSON
    data_sha256: Mapping[str, str] = field(default_factory=dict)  # name -> what the step was planned with
    split: Sequence[float] = ()  # fractions or counts of the sources: train, validation, test
    needs: Mapping[str, str] = field(default_factory=dict)  # "<data>/<role>:<point>[@side]" -> fingerprint
    uses: Mapping[str, str] = field(default_factory=dict)  # sub-experiment -> fingerprint of its step
    model_specs: Mapping[str, Any] = field(default_factory=dict)  # role -> ModelSpec as JSON
    stand_ins: frozenset[str] = frozenset()  # roles that a tiny stand-in plays
    device: str = "cpu"


class Artifacts:
    """`runner.results`: the files that a handler makes. Names are relative to the folder; sub-folders are fine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.saved: list[str] = []

    def get_artifact_path(self, name: str) -> Path:
        """Where `name` lies, for code that writes files itself. Raises `InvalidOutput` if it leaves the folder."""
        inner = output.artifact_name(name)
        path = self.folder / inner
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise output.InvalidOutput(
                f"Artifact {name!r} leads out of the artifacts folder through a link. Give a plain name."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def kept(self, name: str) -> bytes | None:
        """What an earlier attempt at this very step saved as `name` before it died: a long handler goes on from there.

        Only while the step was never finished: who asks for new numbers (`--refresh`, or because a file of the record
        was damaged or edited) gets new ones.
        """
        attempts = self.folder.parent.parent
        if attempts.name != "attempts" or (attempts.parent / "record.json").exists():
            return None
        others = [path for path in attempts.iterdir() if path != self.folder.parent]
        if not all((path / "attempt.json").exists() for path in others):  # which only one that failed has
            return None
        inner = output.artifact_name(name)
        found = [path for path in attempts.glob(f"*/{self.folder.name}/{inner}") if self.folder not in path.parents]
        return max(found, key=lambda path: path.stat().st_mtime_ns).read_bytes() if found else None

    def save_artifact(self, name: str, content: bytes | str) -> str:
        """Write a file and return `artifacts/<name>`, which may be listed in `artifacts`."""
        if not isinstance(content, (bytes, str)):
            raise output.InvalidOutput(
                f"Artifact {name!r} was given a {type(content).__name__}, not bytes or a string. "
                "Encode it, or use save_json_artifact."
            )
        write_atomic(self.get_artifact_path(name), content)
        return self._remember(name)

    def save_json_artifact(self, name: str, data: Any) -> str:
        """Write strict JSON; numpy scalars and arrays are welcome, NaN is not. Returns `artifacts/<name>`."""
        write_data(self.get_artifact_path(name), output.plain_json(data, name))
        return self._remember(name)

    def _remember(self, name: str) -> str:
        inner = output.artifact_name(name)
        if inner not in self.saved:
            self.saved.append(inner)
        return f"artifacts/{inner}"

    def collect(self, listed: Sequence[str], root: Path) -> list[Artifact]:
        """The listed files, then those only saved, hashed; paths relative to `root`. Raises `InvalidOutput`."""
        found = []
        for name in dict.fromkeys([output.artifact_name(name) for name in listed] + self.saved):
            path = self.get_artifact_path(name)
            if not path.is_file():
                raise output.InvalidOutput(
                    f"The handler lists artifact {name!r}, but there is no such file. "
                    f"Save it with runner.results.save_artifact({name!r}, content) first."
                )
            found.append(
                Artifact(
                    name=name,
                    path=str(path.relative_to(root)),
                    sha256=sha256_file(path),
                    size_bytes=path.stat().st_size,
                )
            )
        return found


@dataclass
class Workbench:
    """What one handler leaves behind. `folder` is its attempt's; `root` is what artifact paths are relative to."""

    folder: Path
    artifacts: Artifacts
    root: Path
    progress: Callable[[float, str], None]
    samples: dict[str, Samples] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    not_measured: dict[str, str] = field(default_factory=dict)  # metric -> why
    read: dict[str, str] = field(default_factory=dict)  # files of used sub-experiments -> sha256
    last_step: dict[str, int] = field(default_factory=dict)

    def log(self, metrics: Mapping[str, Any], step: int | None) -> None:
        """Append one strict JSON line `{"metrics", "step", "time"}`. Each metric's step must increase."""
        numbers = {name: output.finite_number(name, value) for name, value in metrics.items()}
        if step is not None:
            step = int(step)
            for name in numbers:
                last = self.last_step.get(name)
                if last is not None and step <= last:
                    raise output.InvalidOutput(
                        f"log_metrics: {name!r} was logged at step {last} and now at step {step}. "
                        "Steps of a curve must increase: give the second curve a name of its own."
                    )
            self.last_step.update(dict.fromkeys(numbers, step))
        line = canonical_json({"metrics": numbers, "step": step, "time": datetime.now(UTC).isoformat()})
        with (self.folder / METRICS_FILE).open("a") as stream:
            stream.write(line + "\n")

    def log_samples(self, entry: Samples) -> None:
        if entry.metric in self.samples:
            raise output.InvalidOutput(
                f"log_samples({entry.metric!r}) was called twice. Give each arm a metric name of its own."
            )
        self.samples[entry.metric] = entry

    def collect(self, returned: Any) -> StepOutput:
        """All that the handler made, checked. Raises `InvalidOutput`."""
        finding, given, listed = output.checked_keys(returned)
        entries = list(self.samples.values())
        metrics = output.checked_metrics(given, entries)
        output.refuse_both(metrics, self.not_measured)
        return StepOutput(
            finding_template=output.template(finding, metrics),
            metrics=metrics,
            samples=entries,
            notes=self.notes,
            artifacts=self.artifacts.collect(listed, self.root),
            not_measured=self.not_measured,
            read=self.read,
        )

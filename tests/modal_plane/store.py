"""What the plane remembers, in one sqlite file, so that a plane that was killed and started again knows it all.

Objects are dataclasses with an `id`; they live in memory and each `save` writes one row. `synchronous=OFF` loses
nothing when the process is killed (the operating system has the pages), only when the machine goes down.
"""

from __future__ import annotations

import pickle
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from modal_proto import api_pb2


@dataclass
class App:
    id: str
    name: str  # empty while it is not deployed
    description: str
    environment: str
    ephemeral: bool = False
    functions: dict[str, str] = field(default_factory=dict)  # published name → function id
    classes: dict[str, str] = field(default_factory=dict)
    version: int = 0
    stopped: bool = False
    created_at: float = field(default_factory=time.time)
    deployed_at: float = 0.0


@dataclass
class Function:
    id: str
    app_id: str
    name: str
    data: bytes = b""  # FunctionData, with its ranked functions
    version: int = 0  # grows with each deployment: containers of an older one take no more inputs
    base_id: str = ""  # of a variant made by with_options
    max_containers: int | None = None

    @property
    def function_data(self) -> api_pb2.FunctionData:
        return api_pb2.FunctionData.FromString(self.data)

    @property
    def definition(self) -> api_pb2.Function:
        """The first choice among its GPU classes; the plane never runs out of any."""
        return min(self.function_data.ranked_functions, key=lambda ranked: ranked.rank).function

    @property
    def gpu(self) -> str:
        gpu = self.definition.resources.gpu_config
        return "" if not gpu.gpu_type else gpu.gpu_type if gpu.count <= 1 else f"{gpu.gpu_type}:{gpu.count}"


@dataclass
class Execution:
    """One time that an input was handed to a container."""

    task_id: str
    started_at: float
    stopped_at: float | None = None
    ended_by: str = ""  # output | timeout | cancelled | preempted | out_of_memory | crashed | plane_lost


@dataclass
class Call:
    id: str
    input_id: str
    function_id: str
    app_id: str
    created_at: float
    input: bytes  # FunctionInput
    invocation: int
    retry_count: int = 0
    not_before: float = 0.0
    state: str = "pending"  # pending | running | done
    executions: list[Execution] = field(default_factory=list)
    output: bytes = b""  # FunctionGetOutputsItem, once done
    finished_at: float | None = None
    cancelled_at: float | None = None
    expired: bool = False
    data_out: list[bytes] = field(default_factory=list)  # DataChunk


@dataclass
class Mount:
    id: str
    files: list[tuple[str, str, int]]  # absolute path, sha256, mode


@dataclass
class Secret:
    id: str
    name: str
    environment: str
    values: dict[str, str]


@dataclass
class Image:
    id: str
    definition: bytes  # Image: its dockerfile commands, its base


@dataclass
class Volume:
    id: str
    name: str  # empty: ephemeral
    environment: str
    version: int


@dataclass
class Dict:
    id: str
    name: str
    environment: str
    entries: dict[bytes, bytes] = field(default_factory=dict)


@dataclass
class Container:
    """What stays of a container when it is gone: for tests to look at."""

    id: str
    function_id: str
    function: str
    gpu: str
    started_at: float
    pid: int = 0
    stopped_at: float | None = None
    exit_code: int | None = None


T = TypeVar("T")


class Store:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.database = sqlite3.connect(folder / "plane.sqlite", isolation_level=None)
        self.database.executescript(
            """PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;
            CREATE TABLE IF NOT EXISTS objects (id TEXT PRIMARY KEY, value BLOB);
            CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER);
            CREATE TABLE IF NOT EXISTS logs (seq INTEGER PRIMARY KEY, app_id TEXT, function_id TEXT, call_id TEXT,
              input_id TEXT, task_id TEXT, at REAL, descriptor INTEGER, data TEXT);
            CREATE INDEX IF NOT EXISTS logs_by_call ON logs (call_id, at);
            CREATE INDEX IF NOT EXISTS logs_by_app ON logs (app_id, seq);"""
        )
        self.objects: dict[type, dict[str, Any]] = {}
        for (value,) in self.database.execute("SELECT value FROM objects ORDER BY rowid"):
            self._remember(pickle.loads(value))

    def _remember(self, thing: Any) -> None:
        self.objects.setdefault(type(thing), {})[thing.id] = thing

    def new_id(self, prefix: str) -> str:
        return f"{prefix}-{self.count('id'):017d}plane"  # 22 characters, as the client's shell expects

    def count(self, name: str) -> int:
        """Adds one; returns the new value."""
        row = self.database.execute(
            "INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
            (name,),
        ).fetchone()
        return int(row[0])

    def counters(self, prefix: str) -> dict[str, int]:
        rows = self.database.execute("SELECT name, value FROM counters WHERE name LIKE ?", (prefix + "%",))
        return {name.removeprefix(prefix): value for name, value in rows}

    def save(self, thing: T) -> T:
        self._remember(thing)
        self.database.execute(
            "INSERT INTO objects VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET value = excluded.value",
            (thing.id, pickle.dumps(thing)),
        )
        return thing

    def delete(self, thing: Any) -> None:
        self.objects[type(thing)].pop(thing.id, None)
        self.database.execute("DELETE FROM objects WHERE id = ?", (thing.id,))

    def all(self, kind: type[T]) -> list[T]:
        return list(self.objects.get(kind, {}).values())

    def find(self, kind: type[T], id: str) -> T | None:
        return self.objects.get(kind, {}).get(id)

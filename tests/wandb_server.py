"""A W&B server on loopback that takes runs, or has one of W&B's bad days; and a reader of what wandb leaves on disk."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

KEY = "0123456789abcdef0123456789abcdef01234567"


class WandbServer(ThreadingHTTPServer):
    """`day`: `good`; `refuses` any key; `hangs`; `ends` or `breaks` as soon as a curve comes (403, 500)."""

    daemon_threads = True

    def __init__(self, day: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.day = day
        self.asked = threading.Event()
        self.has_a_curve = threading.Event()
        self.let_go = threading.Event()
        self.runs: list[dict[str, Any]] = []  # as they were created or changed
        self.history: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone."""


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WandbServer

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        day, is_curve = self.server.day, "file_stream" in self.path and b"wandb-history" in body
        self.server.asked.set()
        if day == "hangs":
            self.server.let_go.wait()
        elif day == "refuses":
            self._say(401, {"errors": [{"message": "the key is not known"}]})
        elif day in ("ends", "breaks") and is_curve:
            self._say(403 if day == "ends" else 500, {"error": "not today"})
        else:
            self._say(200, self._content(body))

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 - the names that http.server calls

    def _content(self, body: bytes) -> dict[str, Any]:
        server = self.server
        if self.command == "PUT":
            server.files[self.path] = body
            return {}
        if "file_stream" in self.path:
            stream = json.loads(body).get("files", {}).get("wandb-history.jsonl", {})
            server.history += map(json.loads, stream.get("content", []))
            if server.history:
                server.has_a_curve.set()
            return {}
        query, variables = json.loads(body)["query"], json.loads(body)["variables"] or {}
        if "UpsertBucket" in query:
            server.runs.append(variables)
            project = {"id": "cA==", "name": variables.get("project"), "entity": {"id": "ZQ==", "name": "team"}}
            bucket = {"id": "cg==", "name": variables.get("name"), "displayName": variables.get("displayName"),
                      "config": "{}", "project": project, "historyLineCount": 0}  # fmt: skip
            return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
        if "CreateRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{server.url}/{name}"} for name in variables["files"]]
            return {"data": {"createRunFiles": {"runID": "cg==", "uploadHeaders": [], "files": files}}}
        return {"data": {"viewer": {"id": "dQ==", "entity": "team", "username": "ada", "teams": {"edges": []}}}}

    def _say(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(day: str) -> Iterator[WandbServer]:
    server = WandbServer(day)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.let_go.set()
        server.shutdown()
        thread.join()
        server.socket.close()


class OnDisk:
    """A run as wandb wrote it: LevelDB's log blocks of 32 KiB, holding protobuf records."""

    def __init__(self, folder: Path) -> None:
        self.history: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.files: list[str] = []
        self.exit_code: int | None = None
        self.folder = folder
        (path,) = folder.glob("*.wandb")
        for content in _records(path.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(content)
            match record.WhichOneof("record_type"):
                case "run":
                    self.run = record.run
                    self.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
                case "history":
                    self.history.append({_key(item): json.loads(item.value_json) for item in record.history.item})
                case "summary":
                    self.summary |= {_key(item): json.loads(item.value_json) for item in record.summary.update}
                case "files":
                    self.files += [file.path for file in record.files.files]
                case "exit":
                    self.exit_code = record.exit.exit_code


def _key(item: Any) -> str:
    return item.key or "/".join(item.nested_key)


def _records(data: bytes) -> Iterator[bytes]:
    assert data[:4] == b":W&B"
    at, whole = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # full, or the last part
            yield whole
            whole = b""

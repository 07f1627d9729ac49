"""Volumes through the real client: from outside, at their paths in containers, and what commit and reload mean."""

from __future__ import annotations

import io
from pathlib import Path

import modal
import pytest

from modal_plane.control import PlaneControl


def results() -> modal.Volume:
    return modal.Volume.from_name("toy-results")


def content(volume: modal.Volume, path: str) -> bytes:
    return b"".join(volume.read_file(path))


def do(*steps: str) -> modal.FunctionCall:
    return modal.Function.from_name("toy", "files").spawn(list(steps))


def gone(toy: PlaneControl) -> None:
    toy.until(lambda: all(container["stopped_at"] for container in toy.containers()))


@pytest.mark.parametrize("name", ["toy-results", "toy-models"])  # of version 1 and 2
def test_files_are_put_listed_read_copied_and_removed_from_outside(
    toy: PlaneControl, name: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/b.txt").write_text("b")
    large = bytes(range(256)) * 40_000  # more than one block
    volume = modal.Volume.from_name(name)
    with volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(large), "/out/large.bin")
        batch.put_directory(str(tmp_path / "folder"), "/out/folder")
    assert content(volume, "out/large.bin") == large
    assert sorted(entry.path for entry in volume.listdir("/out", recursive=True)) == [
        "out/folder",
        "out/folder/b.txt",
        "out/large.bin",
    ]
    with pytest.raises(FileExistsError), volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(b"other"), "/out/folder/b.txt")
    with volume.batch_upload(force=True) as batch:
        batch.put_file(io.BytesIO(b"other"), "/out/folder/b.txt")
    volume.copy_files(["out/folder/b.txt"], "out/c.txt")
    assert content(volume, "out/c.txt") == b"other"
    volume.remove_file("out", recursive=True)
    with pytest.raises(FileNotFoundError):
        content(volume, "out/c.txt")


def test_a_write_is_seen_outside_once_it_is_committed(toy: PlaneControl, tmp_path: Path) -> None:
    committed, go = tmp_path / "committed", tmp_path / "go"
    call = do("write w/a=1", "commit", "write w/b=2", f"wait-for {committed}", "commit", f"wait-for {go}")
    toy.until(lambda: f"waiting for {committed}\n" in [e.message for e in call.logs.fetch()])
    assert content(results(), "w/a") == b"1"
    with pytest.raises(FileNotFoundError):
        content(results(), "w/b")
    committed.touch()
    toy.until(lambda: f"waiting for {go}\n" in [e.message for e in call.logs.fetch()])
    assert content(results(), "w/b") == b"2"
    go.touch()
    call.get()


def test_a_container_sees_what_others_committed_when_it_starts_or_reloads(toy: PlaneControl, tmp_path: Path) -> None:
    go = tmp_path / "go"
    reader = do("read x/a", f"wait-for {go}", "read x/a", "reload", "read x/a")
    toy.until(lambda: f"waiting for {go}\n" in [e.message for e in reader.logs.fetch()])
    do("write x/a=news", "commit").get()
    go.touch()
    assert reader.get() == [None, None, "news"]
    gone(toy)
    assert do("read x/a").get() == ["news"]


def test_a_removed_file_is_removed_for_all_by_the_commit(toy: PlaneControl) -> None:
    do("write r/a=1", "commit", "remove r/a", "commit").get()
    assert [entry.path for entry in results().listdir("/r")] == []


def test_a_container_that_leaves_in_order_commits_and_one_that_is_killed_does_not(
    toy: PlaneControl, tmp_path: Path
) -> None:
    do("write leave/a=kept").get()
    gone(toy)
    assert content(results(), "leave/a") == b"kept"
    call = do("write kill/a=lost", f"wait-for {tmp_path / 'never'}")
    toy.running(call.object_id)
    toy.until(lambda: list(call.logs.fetch()))
    call.cancel(terminate_containers=True)
    gone(toy)
    with pytest.raises(modal.exception.NotFoundError):
        results().listdir("/kill")


def test_a_reload_with_an_open_file_is_refused(toy: PlaneControl) -> None:
    (message,) = do("write o/a=1", "commit", "reload-with-open-file o/a").get()
    assert "there are open files preventing the operation" in message


def test_what_is_written_to_a_read_only_mount_never_leaves_the_container(toy: PlaneControl) -> None:
    models = modal.Volume.from_name("toy-models")
    with models.batch_upload(force=True) as batch:
        batch.put_file(io.BytesIO(b"weights"), "/m")
    gone(toy)
    seen = do("model m", "write-model m=spoilt").get()
    assert seen in (["weights", "OSError 30"], ["weights"])  # refused, or (where mounts are links) lost
    gone(toy)
    assert content(models, "m") == b"weights"


def test_the_last_writer_of_a_file_wins(toy: PlaneControl, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    early = do("write race/f=early", f"wait-for {first}", "commit")
    late = do("write race/f=late", f"wait-for {second}", "commit")
    first.touch()
    early.get()
    assert content(results(), "race/f") == b"early"
    second.touch()
    late.get()
    assert content(results(), "race/f") == b"late"


def test_background_commits_show_work_that_is_half_done(toy: PlaneControl, tmp_path: Path) -> None:
    gone(toy)
    toy.configure(background_commit_s=0.1)
    go = tmp_path / "go"
    call = do("write half/a=1", f"wait-for {go}")
    # one may come while only the folder is there, or the file that nothing is written to yet
    toy.until(lambda: [(e.path, e.size) for e in results().listdir("/", recursive=True)].count(("half/a", 1)) == 1)
    assert content(results(), "half/a") == b"1"
    go.touch()
    call.get()
    toy.configure(background_commit_s=0.0)

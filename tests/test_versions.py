import importlib.metadata
import os

import numpy
import pytest

from foresight import versions


def test_the_version_of_what_is_installed_and_none_of_what_is_not():
    assert versions.installed("numpy") == numpy.__version__
    assert versions.installed("no-such-library") is None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install(folder, version):
    for old in folder.glob("some_library-*.dist-info"):
        (old / "METADATA").unlink()
        old.rmdir()
    info = folder / f"some_library-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: some-library\nVersion: {version}\n")
    later = folder.stat().st_mtime_ns + 1_000_000_000  # whatever the clock of the file system resolves
    os.utime(folder, ns=(later, later))


def test_what_is_installed_meanwhile_is_seen(folder):
    install(folder, "1.0")
    assert versions.installed("some-library") == "1.0"
    install(folder, "2.0")
    assert versions.installed("some-library") == "2.0"


def test_it_is_read_once(folder, monkeypatch):
    install(folder, "1.0")
    assert versions.installed("some-library") == "1.0"
    monkeypatch.setattr(importlib.metadata, "version", lambda name: pytest.fail("read again"))
    assert versions.installed("some-library") == "1.0"

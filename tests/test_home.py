"""The home, as many use it at once and as file systems are."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from foresight import home as module
from foresight.errors import UserError
from foresight.home import Home


def test_all_who_ask_a_new_home_at_once_are_told_one_id(tmp_path):
    for attempt in range(20):
        home, told, together = Home(tmp_path / str(attempt)), [], threading.Barrier(8)

        def ask(home=home, told=told, together=together):
            together.wait()
            told.append(home.id)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(told) == 8
        assert set(told) == {home.id}
        assert len(home.id) == 32


def test_an_id_that_a_crash_left_empty_is_made_after_all(tmp_path):
    (tmp_path / "home-id").touch()
    assert len(Home(tmp_path).id) == 32
    assert Home(tmp_path).id == Home(tmp_path).id


@pytest.mark.parametrize("lacking", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_refused_before_anything_starts(tmp_path, monkeypatch, lacking):
    def refuse(*_):
        raise OSError(lacking, os.strerror(lacking))

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    with pytest.raises(UserError, match=r"without file locks: .*Set FORESIGHT_HOME to a local disk"):
        Home(tmp_path / "home").require_writable()
    assert list((tmp_path / "home").iterdir()) == []

import subprocess

import pytest

from foresight.compute import provenance


@pytest.fixture
def git(tmp_path, monkeypatch):
    """A repository in which this code would lie."""
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    monkeypatch.setattr(provenance, "_is_of_a_checkout", lambda: True)

    def run(*arguments):
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        return subprocess.run(
            ["git", "-C", tmp_path, *who, *arguments], check=True, capture_output=True, text=True
        ).stdout

    run("init", "-q")
    return run


def test_a_commit_and_whether_anything_was_changed_since(git, tmp_path):
    assert provenance.checkout.__wrapped__() == (None, False), "nothing is committed yet"
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "a")
    commit = git("rev-parse", "HEAD").strip()
    assert provenance.checkout.__wrapped__() == (commit, False)
    (tmp_path / "a").write_text("2")
    assert provenance.checkout.__wrapped__() == (commit, True)
    git("checkout", "-q", "a")
    (tmp_path / "new").write_text("")
    assert provenance.checkout.__wrapped__() == (commit, True), "a file that git does not know counts"


def test_outside_of_a_checkout_there_is_none(monkeypatch):
    monkeypatch.setattr(provenance, "_is_of_a_checkout", lambda: False)
    assert provenance.checkout.__wrapped__() == (None, None)


def test_where_git_is_too_slow_the_commit_is_still_known(git, tmp_path, monkeypatch):
    git("commit", "-qm", "empty", "--allow-empty")
    really = provenance._git
    monkeypatch.setattr(provenance, "_git", lambda *what: None if what[0] == "status" else really(*what))
    assert provenance.checkout.__wrapped__() == (git("rev-parse", "HEAD").strip(), None)


@pytest.mark.parametrize(
    ("remote", "said"),
    [
        ("https://github.com/someone/foresight.git", "https://github.com/someone/foresight"),
        ("git@github.com:someone/foresight.git", None),
        ("https://someone:token@github.com/someone/foresight", None),
        ("https://token@github.com/someone/foresight", None),
        ("https://git.company.internal/foresight", None),
        ("https://10.0.0.7/foresight", None),
        ("https://nas/foresight", None),
        ("/srv/git/foresight.git", None),
    ],
)
def test_the_address_that_others_find_the_code_by_is_a_public_one_or_none(git, remote, said):
    assert provenance.repository.__wrapped__() is None, "no remote"
    git("remote", "add", "origin", remote)
    assert provenance.repository.__wrapped__() == said


def test_without_a_public_remote_the_projects_own_address_is_given(git, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nurls = {Repository = "https://example.org/foresight"}\n')
    assert provenance.repository.__wrapped__() == "https://example.org/foresight"
    git("remote", "add", "origin", "https://github.com/fork/foresight")
    assert provenance.repository.__wrapped__() == "https://github.com/fork/foresight"

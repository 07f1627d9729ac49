"""Every kind of mistake in a plan is refused, with its line, its field, what is wrong and what to do."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from foresight.errors import UserError
from foresight.plan.loader import load_plan

PLAN = """\
version: 1
experiments:
  - id: a1-alpha
    short: a1
    title: Alpha
    kind: claim
    phase: 1
    question: Does it?
    criteria:
      - name: score
        sub_experiment: s1
        metric: score
        direction: higher
        target: 0.9
        acceptable: 0.8
        failure: 0.5
        arm: The only one.
    sub_experiments:
      - id: s1
        title: First
        aim: To see.
        handler: team.first:run
        needs: ["vlm:X3"]
        resources: {device: A10, timeout_s: 60}
  - id: b2-beta
    short: b2
    title: Beta
    kind: question
    phase: 2
    question: And then?
    depends_on: [a1]
    criteria:
      - name: error
        sub_experiment: s2
        metric: error
        direction: lower
        target: 0.1
        acceptable: 0.2
        failure: 0.5
        arm: The only one.
    sub_experiments:
      - id: s2
        title: Second
        aim: To see more.
gates:
  - id: gate_1
    experiments: [a1]
    unlocks_phase: 2
"""

HANDLER = """\
raise ImportError("a plan must be checked without importing its handlers")

def run(runner):
    return {}

def no_argument():
    return {}

async def later(runner):
    return {}

class Class:
    pass

made = partial = run
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes the plan with one piece of text replaced, beside a package `team` that must never be imported."""
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "__init__.py").write_text('raise ImportError("nor their parents")\n')
    (tmp_path / "team" / "first.py").write_text(HANDLER)
    (tmp_path / "team" / "broken.py").write_text("def run(:\n")
    (tmp_path / "team" / "folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    def write(old: str = "", new: str = "") -> Path:
        assert not old or PLAN.count(old) == 1, f"{old!r} must stand once in the plan"
        path = tmp_path / "plan.yaml"
        path.write_text(PLAN.replace(old, new) if old else PLAN)
        return path

    return write


def refusal(path: Path) -> list[str]:
    """The lines of the message after its headline, without the folder."""
    with pytest.raises(UserError) as caught:
        load_plan(path)
    headline, *rows = str(caught.value).splitlines()
    assert re.match(r"The plan cannot be used: (1 problem|\d+ problems)\. Correct the file and try again\.", headline)
    return [row.strip().removeprefix(f"{path.parent}/") for row in rows]


def test_the_plan_itself_is_fine(write):
    plan = load_plan(write())
    assert [e.short for e in plan.experiments] == ["a1", "b2"]
    assert plan.experiment("a1-alpha").implemented
    assert plan.experiment("b2").not_implemented == ("s2",)
    assert plan.experiment("a1").sub_experiment("s1").resources.device == "A10"


A, B = "experiments[a1]", "experiments[b2]"
SCORE, ERROR = f"{A}.criteria[score]", f"{B}.criteria[error]"
S1 = f"{A}.sub_experiments[s1]"

CASES = {  # what is wrong: text of the plan, what replaces it, line, message
    "typo in a field": (
        "    title: Alpha",
        "    titel: Alpha",
        5,
        f"{A}.titel: no field 'titel': did you mean 'title'?",
    ),
    "unknown field": ("    title: Alpha", "    title: Alpha\n    owner: me", 6, f"{A}.owner: no field 'owner'."),
    "missing field": ("    question: Does it?\n", "", 3, f"{A}.question: 'question' is missing; add it"),
    "text for a number": (
        "        target: 0.9",
        "        target: '0.9'",
        14,
        f"{SCORE}.target: must be a number, not the text '0.9'",
    ),
    "decimal comma": ("target: 0.9", "target: 0,9", 14, f"{SCORE}.target: must be a number"),
    "number for text": ("    title: Alpha", "    title: 7", 5, f"{A}.title: must be text, not 7"),
    "exponent without a point": (
        "target: 0.9",
        "target: 9e-1",
        14,
        f"{SCORE}.target: YAML reads 9e-1 as text; write 1.0e-3",
    ),
    "not a number": ("target: 0.9", "target: .nan", 14, f"{SCORE}.target: YAML reads .nan"),
    "yes for true": ("    title: Alpha", "    title: yes", 5, f"{A}.title: YAML reads yes as bool; quote it"),
    "a date": ("    title: Alpha", "    title: 2026-01-01", 5, f"{A}.title: YAML reads 2026-01-01 as timestamp"),
    "octal": ("    phase: 2\n", "    phase: 02\n", 29, f"{B}.phase: YAML reads 02 as int"),
    "a tag": ("    title: Alpha", "    title: !!python/name:os.system x", 5, f"{A}.title: YAML reads x as python"),
    "one text for a list": (
        "    depends_on: [a1]",
        "    depends_on: a1",
        31,
        f"{B}.depends_on: must be a list, not the text 'a1'",
    ),
    "a list for a block": (
        "        resources: {device: A10, timeout_s: 60}",
        "        resources: [A10]",
        24,
        f"{S1}.resources: must be a block of fields, not a list",
    ),
    "empty value": ("    title: Alpha", "    title:", 5, f"{A}.title: must be text, not nothing"),
    "unknown kind": (
        "    kind: claim",
        "    kind: claims",
        6,
        f"{A}.kind: must be 'claim', 'question' or 'pivot', not the text 'claims'",
    ),
    "unknown direction": ("direction: lower", "direction: down", 36, f"{ERROR}.direction: must be 'higher' or"),
    "phase zero": ("    phase: 1", "    phase: 0", 7, f"{A}.phase: should be greater than or equal to 1, not 0"),
    "key twice": (
        "    title: Alpha",
        "    title: Alpha\n    title: Aleph",
        6,
        f"{A}.title: the key stands twice (first on line 5)",
    ),
    "merge key": ("    title: Alpha", "    title: Alpha\n    <<: {phase: 1}", 6, f"{A}: a key must be plain text"),
    "id twice": ("id: b2-beta", "id: a1-alpha", 25, f"{B}.id: 'a1-alpha' is taken by an earlier entry"),
    "short name twice": ("    short: b2", "    short: a1", 26, f"{A}.short: 'a1' is taken by an earlier entry"),
    "sub-experiment id twice": ("      - id: s2", "      - id: s1", 42, f"{B}.sub_experiments[s1].id: 's1' is taken"),
    "id is no name": (
        "      - id: s2",
        "      - id: S 2",
        42,
        f"{B}.sub_experiments[S 2].id: the text 'S 2' is not a name",
    ),
    "criterion names an unknown sub-experiment": (
        "sub_experiment: s1",
        "sub_experiment: s2",
        11,
        f"{SCORE}.sub_experiment: no sub-experiment 's2' here: did you mean 's1'?",
    ),
    "thresholds out of order, higher is better": (
        "acceptable: 0.8",
        "acceptable: 0.95",
        10,
        f"{SCORE}: thresholds of 'score' are not ordered for direction higher: "
        "target 0.9, acceptable 0.95, failure 0.5; need target >= acceptable > failure",
    ),
    "thresholds out of order, lower is better": (
        "acceptable: 0.2",
        "acceptable: 0.05",
        33,
        f"{ERROR}: thresholds of 'error' are not ordered for direction lower",
    ),
    "acceptable is failure": ("acceptable: 0.8", "acceptable: 0.5", 10, f"{SCORE}: thresholds"),
    "wrong direction": ("direction: higher", "direction: lower", 10, "need target <= acceptable < failure"),
    "unknown dependency": (
        "depends_on: [a1]",
        "depends_on: [a2]",
        31,
        f"{B}.depends_on[0]: no experiment 'a2': did you mean",
    ),
    "long name as a dependency": (
        "depends_on: [a1]",
        "depends_on: [a1-alpha]",
        31,
        f"{B}.depends_on[0]: write its short name, 'a1'",
    ),
    "dependency twice": ("depends_on: [a1]", "depends_on: [a1, a1]", 31, f"{B}.depends_on[1]: 'a1' is listed twice"),
    "unknown replacement": ("depends_on: [a1]", "replaces: [zz]", 31, f"{B}.replaces[0]: no experiment 'zz'."),
    "depends on a later phase": (
        "    question: Does it?",
        "    question: Does it?\n    depends_on: [b2]",
        9,
        f"{A}.depends_on[0]: 'b2' belongs to phase 2, after this one",
    ),
    "cycle": (
        "    question: Does it?",
        "    question: Does it?\n    depends_on: [b2]",
        9,
        f"{A}.depends_on: depends on itself: a1 -> b2 -> a1; remove one of these dependencies",
    ),
    "depends on itself": ("depends_on: [a1]", "depends_on: [b2]", 31, f"{B}.depends_on: depends on itself: b2 -> b2"),
    "gate of an unknown experiment": (
        "    experiments: [a1]",
        "    experiments: [c1]",
        47,
        "gates[gate_1].experiments[0]: no experiment 'c1'",
    ),
    "gate waits for what it opens": (
        "    experiments: [a1]",
        "    experiments: [b2]",
        47,
        "gates[gate_1].experiments[0]: 'b2' belongs to phase 2",
    ),
    "handler is no handler": (
        "team.first:run",
        "team/first.py",
        22,
        f"{S1}.handler: 'team/first.py' is not a handler; write package.module:function",
    ),
    "handler's package is missing": (
        "team.first:run",
        "teem.first:run",
        22,
        f"{S1}.handler: no package 'teem' on the Python path",
    ),
    "handler's module is missing": (
        "team.first:run",
        "team.frist:run",
        22,
        f"{S1}.handler: no module in 'team' called 'frist': did you mean 'first'?",
    ),
    "handler's module is in a module": (
        "team.first:run",
        "team.first.deep:run",
        22,
        "'team.first' is a module, not a package",
    ),
    "handler's module is a folder": (
        "team.first:run",
        "team.folder:run",
        22,
        "'team.folder' is a folder without code",
    ),
    "handler's module is not Python": ("team.first:run", "team.broken:run", 22, "is not valid Python"),
    "handler's function is missing": ("team.first:run", "team.first:rum", 22, "'rum': did you mean 'run'?"),
    "handler takes no argument": ("team.first:run", "team.first:no_argument", 22, "'no_argument' in"),
    "handler is asynchronous": ("team.first:run", "team.first:later", 22, "is not a plain function"),
    "handler is a class": ("team.first:run", "team.first:Class", 22, "is not a plain function"),
    "need is no need": (
        '"vlm:X3"',
        '"vlm-X3"',
        23,
        f"{S1}.needs[0]: 'vlm-X3' is not a need; write role:point or role:point@side",
    ),
    "need names no point": ('"vlm:X3"', '"vlm:X33"', 23, f"{S1}.needs[0]: 'X33' is not an extraction point"),
    "need at ViT block zero": (
        '"vlm:X3"',
        '"vlm:X1.0"',
        23,
        "'X1.0' is not an extraction point; use X1.<k> (k >= 1)",
    ),
    "need at a side of broken tokens": (
        '"vlm:X3"',
        '"vlm:X3@100"',
        23,
        f"{S1}.needs[0]: side 100 of 'vlm:X3@100' is not a multiple of 28 px",
    ),
    "need twice": ('["vlm:X3"]', '["vlm:X3", "vlm:X3"]', 23, f"{S1}.needs[1]: 'vlm:X3' is listed twice"),
    "unknown metric weights": (
        '        needs: ["vlm:X3"]',
        "        metric_weights: [lpips-vgg]",
        23,
        f"{S1}.metric_weights[0]: must be 'lpips-alex'",
    ),
    "unknown GPU": (
        "device: A10",
        "device: A11",
        24,
        f"{S1}.resources.device: Unknown GPU 'A11'. Known: A10, A100-40GB",
    ),
    "negative timeout": (
        "timeout_s: 60",
        "timeout_s: -60",
        24,
        f"{S1}.resources.timeout_s: should be greater than 0, not -60",
    ),
    "deadline under the timeout": (
        "timeout_s: 60",
        "timeout_s: 60, deadline_s: 30",
        24,
        "resources: deadline_s (30) is shorter than one attempt, timeout_s (60)",
    ),
    "no profiles file": ("version: 1\n", "version: 1\nprofiles: mine.yaml\n", 2, "profiles: there is no file"),
    "wrong version": ("version: 1", "version: 2", 1, "version: must be 1, not 2"),
    "criterion twice": (
        "    sub_experiments:\n      - id: s1",
        "      - {name: score, sub_experiment: s1, metric: a, direction: lower, target: 1, acceptable: 2, failure: 3,"
        " arm: A.}\n"
        "    sub_experiments:\n      - id: s1",
        18,
        f"{SCORE}.name: 'score' is taken by an earlier entry",
    ),
    "gate twice": (
        "    unlocks_phase: 2",
        "    unlocks_phase: 2\n  - {id: gate_1, experiments: [a1], unlocks_phase: 3}",
        49,
        "gates[gate_1].id: 'gate_1' is taken by an earlier entry",
    ),
    "two gates to one phase": (
        "    unlocks_phase: 2",
        "    unlocks_phase: 2\n  - {id: gate_2, experiments: [a1], unlocks_phase: 2}",
        49,
        "gates[gate_2].unlocks_phase: '2' is taken by an earlier entry",
    ),
    "alias of itself": ("    depends_on: [a1]", "    depends_on: &x [*x]", 31, f"{B}.depends_on[0]: refers to itself"),
}


USES = "      - {id: s0, title: Trained, aim: To train., handler: 'team.first:run'}\n      - id: s1\n        uses: [s0]"

USE_CASES = {  # what stands for `- id: s1`, line, message
    "unknown": (USES.replace("[s0]", "[s7]"), 21, f"{S1}.uses[0]: no sub-experiment here 's7'"),
    "of another experiment": (USES.replace("[s0]", "[s2]"), 21, f"{S1}.uses[0]: no sub-experiment here 's2'"),
    "itself": (USES.replace("[s0]", "[s1]"), 21, f"{S1}.uses[0]: 's1' must stand above what uses it"),
    "in a circle": (
        USES.replace("s0, title", "s0, uses: [s1], title"),
        19,
        f"{A}.sub_experiments[s0].uses[0]: 's1' must stand above what uses it",
    ),
    "twice": (USES.replace("[s0]", "[s0, s0]"), 21, f"{S1}.uses[1]: 's0' is listed twice"),
    "without a handler": (USES.replace(", handler: 'team.first:run'", ""), 21, f"{S1}.uses[0]: 's0' has no handler"),
}


@pytest.mark.parametrize(("new", "line", "expected"), USE_CASES.values(), ids=USE_CASES.keys())
def test_a_wrong_use_of_another_sub_experiment_is_named_with_its_line(write, new, line, expected):
    rows = refusal(write("      - id: s1", new))
    assert any(row.startswith(f"plan.yaml:{line}: ") and expected in row for row in rows), "\n".join(rows)


def test_what_is_used_is_part_of_what_is_measured_and_of_nothing_else(write):
    before, after = load_plan(write()).experiments, load_plan(write("      - id: s1", USES)).experiments
    assert [one.hash == other.hash for one, other in zip(before, after, strict=True)] == [False, True]
    trained, using = after[0].sub_experiments
    assert after[0].with_used([using]) == (trained, using)
    assert after[0].with_used([trained]) == (trained,)
    assert "uses" not in before[0].sub_experiments[0].identity  # results from before there were uses keep their plan


@pytest.mark.parametrize(("old", "new", "line", "expected"), CASES.values(), ids=CASES.keys())
def test_a_mistake_is_named_with_its_line(write, old, new, line, expected):
    rows = refusal(write(old, new))
    assert any(row.startswith(f"plan.yaml:{line}: ") and expected in row for row in rows), "\n".join(rows)


def test_all_problems_are_reported_together_in_order(write):
    path = write()
    text = PLAN.replace("titel", "title")
    for old, new in [
        ("    title: Alpha", "    titel: Alpha"),
        ("team.first:run", "team.first:rum"),
        ("depends_on: [a1]", "depends_on: [zz]"),
        ("acceptable: 0.2", "acceptable: 0.05"),
        ("    unlocks_phase: 2", "    unlocks_phase: 2\n    unlocks_phase: 3"),
    ]:
        text = text.replace(old, new)
    path.write_text(text)
    lines = [int(row.split(":")[1]) for row in refusal(path)]
    assert lines == [5, 22, 31, 33, 49]


def test_a_typo_of_a_required_field_is_one_problem(write):
    assert len(refusal(write("    title: Alpha", "    titel: Alpha"))) == 1


@pytest.mark.parametrize("handler", ["team.first:run", "team.first:made", "team.first:partial"])
def test_a_handler_is_found_without_importing_it(write, handler):
    assert load_plan(write("team.first:run", handler)).experiment("a1").implemented


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"a: [1\nb: 2\n", "is not valid YAML"),
        (b"a: 'x\n", "is not valid YAML"),
        (b"---\na: 1\n---\nb: 2\n", "is not valid YAML"),
        (b"title: \xff\xfe\n", "is not UTF-8 text"),
        (b"title: \x00\n", "is not valid YAML"),
        (b"- 1\n", "the file: must be a block of fields, not a list"),
        (b"just text\n", "the file: must be a block of fields, not the text 'just text'"),
        (b"? [a, b]\n: 1\n", "a key must be plain text"),
    ],
)
def test_what_is_no_plan_at_all(tmp_path, content, expected):
    path = tmp_path / "plan.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_plan(path)
    assert expected in str(caught.value)
    assert "plan.yaml" in str(caught.value)


def test_a_yaml_error_names_its_line(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(
        textwrap.dedent("""\
        version: 1
        experiments:
          - id: x
           short: y
    """)
    )
    with pytest.raises(UserError, match=r"plan\.yaml:4: "):
        load_plan(path)


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_no_file(tmp_path, name):
    with pytest.raises(UserError, match=r"cannot be read: .* Check the path"):
        load_plan(tmp_path / name)

"""Makes the README's pictures and the report's from the results in FORESIGHT_HOME: `python docs/images/make.py` after
`make run`. The report's needs chromium."""

import io
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text
from small import photographs, shoot

from foresight.home import Home
from foresight.plan.loader import load_plan
from foresight.results import gates, table, view
from foresight.results.report import facts, page

HERE = Path(__file__).parent
home, plan = Home.from_environment(), load_plan(None)
console = Console(record=True, width=112, file=io.StringIO())
for experiment in (one for phase in plan.phases().values() for one in phase):
    content = view.read(home, experiment.id)
    if content is None:
        assert not experiment.implemented, "run `make run` first"
        continue
    console.print(Text(f"{content['title']}  ", style="bold").append(content["question"], style="not bold"))
    console.print()
    console.print(table.criteria(content))
    console.print()
    console.print(table.verdict_line(content))
    console.print()
gate = gates.before_phase(home, plan, 2, profile="tiny", moves_gates=False)
assert gate is not None
console.print(table.gate_line(gate))
console.save_svg(str(HERE / "result.svg"), title="foresight program")
grid = home.results / "c1-vlm-latent-sufficiency" / "artifacts" / "e1_5" / "reconstruction_grid.png"
photographs(grid, HERE / "reconstruction.jpg")
with tempfile.TemporaryDirectory() as scratch:
    report = Path(scratch) / "q2.html"
    page.write(page.render(facts.experiment(home, "q2", plan), report, moving=gates.MOVING_PROFILE, origin=""), report)
    shoot(report.as_uri(), HERE / "report.png", 1700, width=900)

"""Makes the README's pictures from the results in FORESIGHT_HOME: `python docs/images/make.py` after `make run`."""

import io
import shutil
from pathlib import Path

from rich.console import Console

from foresight.home import Home
from foresight.results import table, view

EXPERIMENT = "c1-vlm-latent-sufficiency"
HERE = Path(__file__).parent
home = Home.from_environment()
content = view.read(home, EXPERIMENT)
assert content is not None, "run `make run` first"
console = Console(record=True, width=110, file=io.StringIO())
console.print(table.experiment(content, Path(".foresight") / "results" / EXPERIMENT))
console.save_svg(str(HERE / "result.svg"), title="foresight program")
artifacts = home.results / EXPERIMENT / "artifacts"
shutil.copyfile(artifacts / "e1_5" / "reconstruction_grid.png", HERE / "reconstruction.png")

"""The main job on Modal: number for number what it is here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from modal_plane.control import PlaneControl
from test_flows_whole import foresight

from foresight.home import Home
from foresight.results.verify import verify

pytestmark = pytest.mark.slow


def results(home: Path) -> dict[str, Any]:
    return yaml.safe_load((home / "results" / "c1-vlm-latent-sufficiency" / "results.yaml").read_text())


def measured(content: dict[str, Any]) -> dict[str, Any]:
    """Everything that is a number or a verdict; seconds, dates and dollars are not the same twice."""
    subs = content["results"]["experiments"]
    return {
        "metrics": {name: sub.get("metrics") for name, sub in subs.items()},
        "findings": {name: sub.get("finding") for name, sub in subs.items()},
        "records": {name: sub.get("records") for name, sub in subs.items()},
        "criteria": content["criteria"],
        "recommendation": content["recommendation"],
        "assessment": content["assessment"],
    }


@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    "arguments", [["--sub-experiment", "e1_4", "--seeds", "1"], []], ids=["e1_4, one seed", "all of C1"]
)
def test_c1_is_on_modal_what_it_is_here(
    tmp_path: Path, deployed_with_torch: PlaneControl, api_url: str, arguments: list[str]
):
    there, here = tmp_path / "there", tmp_path / "here"
    done = foresight(there, "run", "c1", "--compute", "modal", *arguments, api_url=api_url)
    assert done.returncode == 0, done.stderr[-3000:]
    done = foresight(here, "run", "c1", *arguments, api_url=api_url)
    assert done.returncode == 0, done.stderr[-3000:]
    assert measured(results(there)) == measured(results(here))
    assert verify(Home(there)) == []
    assert not (there / "features").exists()
    assert not list(there.rglob("*.npy"))
    if arguments:  # what failed there can be looked at here, on the inputs it had there
        again = foresight(
            there, "run", "c1", "--compute", "modal", "--in-process", "--refresh", *arguments, api_url=api_url
        )
        assert again.returncode == 0, again.stderr[-3000:]
        assert measured(results(there)) == measured(results(here))
        assert list((there / "features").rglob("*.safetensors"))

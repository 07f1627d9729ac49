"""The notebook in examples/ runs on a fresh run and draws what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "reading_results.ipynb"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_notebook_reads_a_run_and_draws(tmp_path, monkeypatch):
    monkeypatch.setenv("FORESIGHT_HOME", str(tmp_path))
    command = ["run", "c1", "--sub-experiment", "e1_4", "--seeds", "1"]
    done = subprocess.run([sys.executable, "-m", "foresight", *command], env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output["text"] for output in outputs if output.output_type == "stream")
    assert "spatial_iou" in printed
    assert "X3: 240 pictures, 4 x 4 tokens" in printed
    drawn = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(drawn) == 2


def test_the_notebook_is_stored_without_results():
    """What is shown there would be of one machine and one day."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook.cells)

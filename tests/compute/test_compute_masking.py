"""No token reaches a log, whether it looks like one or was given to the process as one."""

from __future__ import annotations

import pytest

from foresight.compute.log_lines import read_lines
from foresight.compute.masking import BLACK, mask

GIVEN = {"HF_TOKEN": "correct-horse-battery", "PREFECT_API_KEY": "short", "HOME": "/home/ada-lovelace"}


@pytest.mark.parametrize(
    "token",
    [
        "hf_" + "a1B2" * 9,
        "ak-" + "x7" * 11,
        "as-" + "Q9" * 11,
        "ghp_" + "Z" * 36,
        "correct-horse-battery",
        "ada:s3cret-of-hers",
    ],
)
def test_a_token_is_blacked_out_and_the_words_around_it_stay(token):
    line = f"GET https://{token}@host/x failed" if ":" in token else f"401 for token '{token}', try again"
    masked = mask(line, GIVEN)
    assert token not in masked
    assert masked == line.replace(token, BLACK)


@pytest.mark.parametrize(
    "line",
    ["task-runs of /home/ada-lovelace", "a short word", "https://host:4200/api", "as-is, ak-ak", "hf_hub 1.2", ""],
)
def test_ordinary_words_are_left_alone(line):
    assert mask(line, GIVEN) == line


def test_what_a_handler_prints_is_masked_on_its_way_to_the_log(tmp_path):
    log = tmp_path / "log"
    log.write_text("loading with hf_" + "a1B2" * 9 + "\n")
    lines, _ = read_lines(log, 0, log.stat().st_size, (), ended=True)
    assert [line.text for line in lines] == [f"loading with {BLACK}"]

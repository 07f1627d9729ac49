"""Tokens never stand in a log: what looks like one is blacked out, and so is whatever this process was given as one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

BLACK = "********"
_LENGTH = 8  # of a value that is looked for; a shorter one would black out ordinary words
_GIVEN = re.compile(r"(TOKEN|SECRET|PASSWORD|API_KEY|ACCESS_KEY)(_ID)?$")
_LOOKS = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|\b(?:ak|as|wk|ws)-[A-Za-z0-9]{20,}"  # Modal
    r"|\bwandb_v\d_\w{20,}|(?<=WANDB_API_KEY=)\w{20,}"  # W&B
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}"  # GitHub
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # user and password of an address
    r"|(?<=[Bb]earer )[\w.~+/=-]{16,}"
)


def mask(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` without tokens. `environment`: where the process was given some (its own environment if not given)."""
    text = _LOOKS.sub(BLACK, text)
    for name, value in (os.environ if environment is None else environment).items():
        if len(value) >= _LENGTH and value in text and _GIVEN.search(name):
            text = text.replace(value, BLACK)
    return text

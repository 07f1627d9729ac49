"""What a notification says leads to the page of its flow run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prefect.settings import PREFECT_UI_URL, temporary_settings

from tasks import news

RUN = "44a61574-11f1-4b4b-a845-47b475a9c18f"


def test_a_flipped_verdict_comes_with_the_address_of_its_run(monkeypatch: pytest.MonkeyPatch):
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(news, "emit_event", lambda **event: said.append(event))
    monkeypatch.setattr(news, "flow_run", SimpleNamespace(id=RUN, name="c1-tiny"))
    with temporary_settings({PREFECT_UI_URL: "http://prefect.example"}):
        news.flipped("c1", ["lpips: met → not met"])
    (event,) = said
    assert (event["event"], event["payload"]["title"]) == (news.FLIPPED, "c1: a verdict flipped")
    assert event["payload"]["text"] == f"lpips: met → not met\nhttp://prefect.example/runs/flow-run/{RUN}"

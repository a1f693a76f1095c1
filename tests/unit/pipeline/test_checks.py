from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support.plans import command

from pipeline import checks
from pipeline.errors import UsageError
from pipeline.plan import Plan, PlannedStage


def build(carrier: str) -> Plan:
    stage = PlannedStage("images", "build", [], {"carrier": carrier}, {}, None, None, 60, idempotent=True)
    return Plan("x", {}, {}, {"images": stage, "other": command("other", "true")})


@pytest.mark.parametrize(
    ("carrier", "local", "refused"), [("engine", False, True), ("engine", True, False), ("oci-layout", False, False)]
)
def test_images_in_this_engine_are_of_no_use_to_who_shares_a_store(carrier: str, *, local: bool, refused: bool) -> None:
    store: Any = SimpleNamespace(local=local, location="s3://records/shop")
    if not refused:
        checks.carriers(build(carrier), store)
        return
    with pytest.raises(UsageError, match="stage images leaves its images in this machine's engine") as caught:
        checks.carriers(build(carrier), store)
    assert "carrier: oci-layout" in (caught.value.hint or "")

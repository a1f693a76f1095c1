"""What a user reads who made a mistake, to the letter. `TOWPATH_RENEW_GOLDEN=1 pytest` writes it anew; read the difference."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline import definition
from pipeline.errors import InvalidDefinition

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("case", sorted(each.name for each in GOLDEN.iterdir()))
def test_messages_are_as_expected(case: str) -> None:
    project = GOLDEN / case
    with pytest.raises(InvalidDefinition) as caught:
        definition.load(project / "pipeline.yaml", project)
    text = f"{caught.value}\n"
    expected = project / "expected.txt"
    if os.environ.get("TOWPATH_RENEW_GOLDEN"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")
    assert caught.value.code == 2

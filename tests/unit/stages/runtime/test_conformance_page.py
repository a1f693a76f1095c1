"""docs/reference/lambda-runtime.md: every row names a test that there is, or says that it is not done."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[4]
PAGE = ROOT / "docs" / "reference" / "lambda-runtime.md"


def rows() -> list[list[str]]:
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    return [row for row in cells if row[0]]


def test_every_row_has_four_cells() -> None:
    assert len(rows()) > 40
    assert [row for row in rows() if len(row) != 4] == []


def test_every_row_is_held_to_by_a_test_that_there_is() -> None:
    missing = []
    for what, _, here, test in rows():
        found = re.fullmatch(r"`(tests/[^:`]+)::(test_\w+)`", test)
        if found is None:
            if not (test == "" and here.startswith("*not done*")):
                missing.append(f"{what}: no test is named")
        elif f"def {found[2]}(" not in (ROOT / found[1]).read_text(encoding="utf-8"):
            missing.append(f"{what}: {found[1]} has no {found[2]}")
    assert missing == []

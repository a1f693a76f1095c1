from __future__ import annotations

import re
from pathlib import Path

from pipeline.errors import EXIT_CODES

DOCS = Path(__file__).parents[3] / "docs/reference/exit-codes.md"


def test_every_exit_code_is_in_the_reference() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", DOCS.read_text(), re.MULTILINE)
    assert sorted(int(code) for row in rows for code in row.split(",")) == sorted(EXIT_CODES)

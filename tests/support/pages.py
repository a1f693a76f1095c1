"""What stands in pages of the documentation, for tests that do as it says."""

from __future__ import annotations

import re

from support.machine import ROOT


def blocks(page: str, language: str) -> list[str]:
    """The blocks of code of a language, without their fences."""
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)

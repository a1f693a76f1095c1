"""For every test: cheap ones run first."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
COST = {"unit": 0, "integration": 1, "e2e": 3}
"""Folders by what their tests cost; others stand between integration and e2e."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by cost, after the order was made random; within a folder it stays random."""
    items.sort(key=lambda item: COST.get(item.path.relative_to(HERE).parts[0], 2))

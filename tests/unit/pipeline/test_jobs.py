from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.folders import nest

from pipeline import jobs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("depth", [3, 1_500, 3_000], ids=["plain", "deeper than Python's stack", "deeper than a path"])
def test_a_work_directory_is_removed_whatever_a_stage_made_of_it(tmp_path: Path, depth: int) -> None:
    work = tmp_path / "work"
    (work / "shut/in").mkdir(parents=True)
    (work / "shut").chmod(0o000)
    (work / "way out").symlink_to(tmp_path / "kept")
    (tmp_path / "kept").mkdir()
    nest(work, depth)
    jobs.discard(work)
    assert list(tmp_path.iterdir()) == [tmp_path / "kept"]

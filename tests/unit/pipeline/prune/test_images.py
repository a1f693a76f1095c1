from __future__ import annotations

import pytest

from pipeline.prune.images import Image, unwanted

RUNS = ["1", "2", "3", "4"]
IMAGES = {
    "a": Image("a", runs=["1", "2"]),
    "b": Image("b", runs=["1"]),
    "c": Image("c", runs=["2", "3"]),
}


@pytest.mark.parametrize(("keep", "ids"), [(0, ["a", "b", "c"]), (1, ["a", "b"]), (2, ["b"]), (3, []), (9, [])])
def test_what_the_last_runs_that_built_have_is_kept(keep: int, ids: list[str]) -> None:
    """Run 4 built nothing, so it counts for none: catches a record of deployments that has every image removed."""
    assert [image.id for image in unwanted(IMAGES, RUNS, keep)] == ids


def test_nothing_was_built() -> None:
    assert unwanted({}, RUNS, 1) == []

"""A machine that went down may leave files that are cut off. Each object of a record is cut at several bytes, one at a time.

The store never shows a file that is not whole, so this is what a file system may do that has lost what was flushed. Nothing may be
believed that is not whole, and nobody may see a traceback.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from support.plans import command

from pipeline.audit.verify import Audit
from pipeline.errors import TowpathError

if TYPE_CHECKING:
    from pathlib import Path

    from support.plans import House

MAKE = command(
    "make", "echo a line; mkdir $TOWPATH_OUTPUTS/thing; echo made > $TOWPATH_OUTPUTS/thing/f", outputs=["thing"]
)
USE = command("use", "cat $TOWPATH_INPUTS/thing/f", needs=("make",), inputs={"thing": "make"})


def _objects(house: House) -> list[Path]:
    root = house.store.root
    return sorted(path for path in root.rglob("*") if path.is_file() and "aside" not in path.parts)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.7, 1.0])
def test_what_is_cut_off_is_never_believed(house: House, part: float) -> None:
    run_id = house.open(MAKE, USE)
    house.drive(run_id)
    assert Audit(house.store, None).run(run_id).verdict == "consistent"
    for path in _objects(house):
        whole = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(whole[: min(int(len(whole) * part), len(whole) - 1)])
        audit = Audit(house.store, None)
        found = [*audit.run(run_id).findings, *audit.rest()]
        assert any(each.grade == "broken" for each in found), path
        with suppress(TowpathError):  # any other error is a fault of ours
            house.drive(run_id)
        path.write_bytes(whole)
    assert Audit(house.store, None).run(run_id).verdict == "consistent"


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_a_run_whose_last_event_was_cut_off_does_not_go_on_from_it(house: House, part: float) -> None:
    """Its attempt is refused by name; a new run is not disturbed by it."""
    run_id = house.open(MAKE, USE)
    house.drive(run_id)
    last = house.store.root / f"runs/{run_id}/make.1/00000003.json"
    whole = last.read_bytes()
    last.chmod(0o600)
    last.write_bytes(whole[: min(int(len(whole) * part), len(whole) - 1)])
    with pytest.raises(TowpathError, match=r"make\.1"):
        house.drive(run_id)
    assert house.drive(house.open(MAKE, USE)).done("use")

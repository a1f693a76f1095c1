"""A run that others write to while it is held against the keys that count."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from support.plans import command
from support.signing import trust_line

from pipeline.cli import common
from pipeline.errors import Incomplete, VerificationFailed
from pipeline.signing import signers

if TYPE_CHECKING:
    from pathlib import Path

    from support.plans import House

    from pipeline.signing.signers import Trust


def trust(house: House) -> Trust:
    return signers.trust(trust_line(house.key.public, "builder"), "trust")


def later(path: Path, data: bytes) -> threading.Timer:
    timer = threading.Timer(0.1, path.write_bytes, [data])
    timer.start()
    return timer


@pytest.fixture
def run_id(house: House) -> str:
    made = house.open(command("one", "true"))
    house.drive(made)
    return made


@pytest.mark.parametrize("missing", [["seal.json"], ["seal.json", "00000003.json"], ["00000003.json"]])
def test_what_is_being_written_is_looked_at_again(house: House, run_id: str, missing: list[str]) -> None:
    """Closed and not yet sealed; not yet closed; listed before it was closed, and its seal read after that."""
    paths = [house.store.root / f"runs/{run_id}/one.1" / name for name in missing]
    kept = [(path, path.read_bytes()) for path in paths]
    for path in paths:
        path.unlink()
    timers = [later(path, data) for path, data in kept]
    common.rely_on(house.store, run_id, trust(house))
    for timer in timers:
        timer.join()


def test_what_stays_as_it_is_is_refused(house: House, run_id: str) -> None:
    seal = house.store.root / f"runs/{run_id}/one.1/seal.json"
    seal.unlink()
    with pytest.raises(Incomplete, match="seal"):
        common.rely_on(house.store, run_id, trust(house))
    event = house.store.root / f"runs/{run_id}/one.1/00000001.json"
    event.chmod(0o644)
    event.write_bytes(event.read_bytes().replace(b"apply", b"other"))
    with pytest.raises(VerificationFailed, match=r"one\.1"):
        common.rely_on(house.store, run_id, trust(house))

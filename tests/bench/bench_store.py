"""A run of eight stages, and looking at it, on a store in a folder, in S3 on this machine, and in S3 at 40 ms a request."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import s3
from support.far_away import far_away
from support.plans import House, command

from pipeline.cli.common import open_store

if TYPE_CHECKING:
    import pytest

RTT_MS = 40
TOWPATH = str(Path(sys.executable).parent / "towpath")


def _stages() -> list[Any]:
    makes = "mkdir -p $TOWPATH_OUTPUTS/o; for n in {1..20}; do echo $RANDOM$n > $TOWPATH_OUTPUTS/o/$n; done"
    names = [f"s{number}" for number in range(8)]
    needs: list[tuple[str, ...]] = [(), *((name,) for name in names[:-1])]
    return [command(name, makes, outputs=["o"], needs=need) for name, need in zip(names, needs, strict=True)]


def _measure(name: str, location: str, folder: Path) -> None:
    (folder / str(len(name))).mkdir()
    house = House(folder / str(len(name)), open_store(location, folder, create=True))  # type: ignore[arg-type] # as good as a folder
    began = time.monotonic()
    run_id = house.open(*_stages())
    house.drive(run_id)
    took = {"run": time.monotonic() - began}
    for argv in (["status"], ["runs"], ["logs"], ["audit", "show"], ["audit", "verify"]):
        began = time.monotonic()
        done = subprocess.run([TOWPATH, *argv, "--store", location], cwd=folder, capture_output=True, check=False)
        assert done.returncode in (0, 7), done.stderr
        took[" ".join(argv)] = time.monotonic() - began
    print(f"{name:<12}" + "  ".join(f"{what} {s:5.2f} s" for what, s in took.items()))


def test_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3.server(tmp_path) as port, far_away(port, RTT_MS) as far:
        bucket = s3.make_bucket(port)
        for name, value in bucket.variables.items():
            monkeypatch.setenv(name, value)
        _measure("folder", str(tmp_path / "store"), tmp_path)
        _measure("S3 here", f"s3://{bucket.name}/near", tmp_path)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{far}")
        _measure(f"S3 at {RTT_MS} ms", f"s3://{bucket.name}/far", tmp_path)

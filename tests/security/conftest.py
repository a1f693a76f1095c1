"""Real records, made once by real processes; every test changes a copy of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.machine import TOWPATH
from support.plans import House, command, killed_in, run_process
from support.signing import trust_file

from pipeline.record.store.directory import open_store
from pipeline.signing import keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.signing.keys import Key

DEFINITION = """
version: 1
name: told-by-the-command
stages:
  make:
    uses: command
    with: {run: [/bin/sh, -c, 'mkdir $TOWPATH_OUTPUTS/thing; echo made > $TOWPATH_OUTPUTS/thing/file'], outputs: [thing]}
  use:
    uses: command
    needs: [make]
    with: {run: [/bin/sh, -c, 'cat $TOWPATH_INPUTS/thing/file'], inputs: [thing]}
"""


@dataclass
class Record:
    """A store with its runs, the key that sealed them, and the file that enrols it."""

    root: Path
    run: str
    other: str
    key: Key
    trust: Path

    def path(self, key: str) -> Path:
        """The file of an object; `RUN` and `OTHER` stand for the runs."""
        path = self.root / key.replace("RUN", self.run).replace("OTHER", self.other)
        if path.exists():
            path.chmod(0o640)
        return path

    def verify(self, *arguments: str, code: int, trusted: bool = True) -> str:
        """Run `towpath audit verify`, expect this exit code, and give the message."""
        trust = ["--trust", str(self.trust)] if trusted else []
        argv = [TOWPATH, "audit", "verify", *(arguments or (self.run,)), "--store", str(self.root), *trust]
        variables = {name: value for name, value in os.environ.items() if name != "TOWPATH_TRUST"}
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=variables)
        assert done.returncode == code, done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        return done.stderr if code else done.stdout


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Two runs of a small plan; in the first one a runner was killed and another one took over."""
    folder = tmp_path_factory.mktemp("record")
    project = folder / "project"
    project.mkdir()
    house = House(project, open_store(folder / "store", create=True))
    started = project / "use.started"
    stages = (
        command("make", "mkdir $TOWPATH_OUTPUTS/thing; seq 9 > $TOWPATH_OUTPUTS/thing/file; echo made", outputs=["thing"]),
        command("use", f"echo used; test -e {started} && exit 0; touch {started}; sleep 60", needs=("make",), inputs={"thing": "make"}),
        command("last", "seq 40", needs=("use",)),
    )  # fmt: skip
    run = house.open(*stages)
    killed_in(house, run, "use")
    assert run_process(house, run).returncode == 0
    other = house.open(*stages)
    assert run_process(house, other).returncode == 0
    trust = trust_file(folder / "trust", house.key.public)
    return Record(house.store.root, run, other, house.key, trust)


@pytest.fixture(scope="session")
def _made_by_command(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Two runs made by `towpath run`, with a key of its own."""
    project = tmp_path_factory.mktemp("by-command")
    (project / "pipeline.yaml").write_text(DEFINITION)
    keys.make(project / "key")
    for _ in range(2):
        argv = [TOWPATH, "run", "--key", "key", "--json"]
        subprocess.run(argv, cwd=project, check=True, capture_output=True)
    root = project / ".towpath/store"
    other, run = sorted(path.name for path in (root / "runs").iterdir())
    key = keys.load(project / "key")
    return Record(root, run, other, key, trust_file(project / "trust", key.public))


@pytest.fixture(params=["_made", "_made_by_command"])
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Record:
    """A copy of either record."""
    return _copy(request.getfixturevalue(request.param), tmp_path)


@pytest.fixture
def small(_made: Record, tmp_path: Path) -> Record:
    """A copy of the record with a killed runner."""
    return _copy(_made, tmp_path)


@pytest.fixture
def copies(_made: Record, tmp_path: Path) -> Callable[[], Record]:
    """Give the record as it was made, as often as it is asked for; who changes it must change it back."""
    copy = _copy(_made, tmp_path)
    return lambda: copy


def _copy(made: Record, folder: Path) -> Record:
    shutil.copytree(made.root, folder / "copy")
    return Record(folder / "copy", made.run, made.other, made.key, made.trust)

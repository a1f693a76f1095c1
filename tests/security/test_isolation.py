"""A hostile program as a stage, in each way in which stages are isolated here: what it may not reach, and what the record says."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import sandboxes
from support.machine import TOWPATH

from pipeline.signing import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTILE = Path(__file__).with_name("hostile.py")
THREADS = 4_500
"""More than a stage may have."""

DEFINITION = """
version: 1
name: hostile
isolation: {isolation}
stages:
  make:
    uses: command
    with: {{run: [sh, -c, 'mkdir $TOWPATH_OUTPUTS/given; echo given > $TOWPATH_OUTPUTS/given/file'], outputs: [given]}}
  hostile:
    uses: command
    needs: [make]
    with:
      run: [{python}, hostile.py, '{notes}']
      inputs: [given]
      outputs: [tried]
      network: {network}
"""


@dataclass
class Tried:
    """What a hostile program got, by what it tried; what the runner said; and what it left."""

    got: dict[str, Any]
    said: str
    project: Path
    left: list[int]
    intended: dict[str, Any]

    def met(self, name: str) -> bool:
        """Whether an attempt failed."""
        return "met" in self.got[name]


class Surroundings:
    """What there is on this machine to be reached: listeners, a process, files."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.abstract = f"towpath-{secrets.token_hex(8)}"
        self.tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.udp.bind(("127.0.0.1", 0))
        hidden = stack.enter_context(socket.socket(socket.AF_UNIX))
        hidden.bind("\0" + self.abstract)
        hidden.listen(5)
        self.victim = stack.enter_context(subprocess.Popen(["sleep", "120"]))
        stack.callback(self.victim.kill)
        threading.Thread(target=self._answer_tcp, daemon=True).start()
        threading.Thread(target=self._answer_udp, daemon=True).start()
        self.home = folder / "home"
        (self.home / ".ssh").mkdir(parents=True)
        (self.home / ".ssh/id_ed25519").write_text("a key")
        (folder / "secret").write_text("a secret")

    def _answer_tcp(self) -> None:
        try:
            while True:
                connection, _ = self.tcp.accept()
                with connection:
                    connection.sendall(b"hello")
        except OSError:
            return

    def _answer_udp(self) -> None:
        try:
            while True:
                _, where = self.udp.recvfrom(10)
                self.udp.sendto(b"hello", where)
        except OSError:
            return


def run(folder: Path, isolation: str, *, network: bool, user: int | None = None) -> Tried:
    """Have the hostile program run by `towpath run`, as another user if one is named."""
    project = folder / "project"
    project.mkdir()
    shutil.copy(HOSTILE, project)
    with ExitStack() as stack:
        around = Surroundings(folder, stack)
        keys.make(project / "key")
        seconds = f"77.{secrets.randbelow(10**9)}"
        notes = {
            "secret": str(folder / "secret"),
            "home": str(around.home),
            "key": str(project / "key"),
            "store": str(project / ".towpath/store"),
            "victim": around.victim.pid,
            "tcp": around.tcp.getsockname()[1],
            "udp": around.udp.getsockname()[1],
            "abstract": around.abstract,
            "seconds": seconds,
            "threads": THREADS if not network and (user or os.geteuid()) else 1,
        }
        definition = DEFINITION.format(
            isolation=isolation, python=sys.executable, notes=json.dumps(notes), network=str(network).lower()
        )
        (project / "pipeline.yaml").write_text(definition)
        variables = {**os.environ, "HOME": str(around.home), "THE_RUNNERS_OWN": "token"}
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TOWPATH_TRUST"):
            variables.pop(name, None)
        argv = [TOWPATH, "run", "--key", "key"]
        if user:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, user, user)
            argv = sandboxes.as_nobody(argv, folder)
        done = subprocess.run(
            argv, cwd=project, env=variables, capture_output=True, text=True, check=False, timeout=120
        )
    assert done.returncode == 0, done.stderr + done.stdout
    [run_id] = [path.name for path in (project / ".towpath/store/runs").iterdir()]
    intended, tried = _recorded(project / ".towpath/store", run_id)
    return Tried(tried, done.stderr, project, sandboxes.running(seconds), intended)


def _recorded(store: Path, run_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the record says of the hostile stage: how it was isolated, and its output."""
    events = [json.loads(path.read_bytes()) for path in sorted((store / f"runs/{run_id}/hostile.1").glob("0*.json"))]
    data = {event["type"]: event["data"] for event in events}
    manifest = _blob(store, data["phase.finished"]["outputs"]["tried"])
    return data["phase.intended"], _blob(store, manifest["files"][0]["sha256"])


def _blob(store: Path, sha256: str) -> Any:
    value = sha256.removeprefix("sha256:")
    return json.loads((store / "blobs/sha256" / value[:2] / value).read_bytes())


class Runs:
    """What the hostile program got, run once for each way and user."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._known: dict[tuple[str, str, bool], Tried] = {}

    def get(self, who: str, isolation: str, *, network: bool) -> Tried:
        key = (who, isolation, network)
        if key not in self._known:
            self._known[key] = self._run(who, isolation, network=network)
        return self._known[key]

    def _run(self, who: str, isolation: str, *, network: bool) -> Tried:
        is_root = os.geteuid() == 0
        if who == "root" and not is_root:
            pytest.skip("this is an ordinary user")
        # pytest's own folders are shut for others
        folder, user = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="hostile-"))), None
        folder.chmod(0o755)
        if who != "root" and is_root:
            user = sandboxes.NOBODY
            tried = subprocess.run(
                sandboxes.as_nobody([TOWPATH, "--version"], folder), capture_output=True, check=False
            )
            if tried.returncode:
                pytest.skip("another user may not enter where Towpath is installed")
        return run(folder, isolation, network=network, user=user)


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    with ExitStack() as stack:
        yield Runs(stack)


@pytest.fixture(params=["root", "ordinary user"])
def who(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def isolated(who: str, runs: Runs) -> Tried:
    """In a sandbox, without the network."""
    sandboxes.found()
    return runs.get(who, "required", network=False)


@pytest.fixture
def connected(who: str, runs: Runs) -> Tried:
    """In a sandbox, with the network."""
    sandboxes.found()
    return runs.get(who, "required", network=True)


@pytest.fixture
def open_(who: str, runs: Runs) -> Tried:
    """Without any isolation."""
    return runs.get(who, "none", network=True)


@pytest.mark.parametrize(
    "attempt",
    [
        *("reads_a_secret", "reads_an_ssh_key", "reads_the_runners_key", "reads_shadow"),
        *("signals_another", "reaches_the_engine"),
        *("writes_its_request", "replaces_its_request", "writes_its_inputs", "writes_the_source", "unlocks_itself"),
        *("writes_the_system", "writes_at_the_top", "mounts"),
    ],
)
def test_a_sandbox_keeps_it_from(isolated: Tried, connected: Tried, attempt: str) -> None:
    assert isolated.met(attempt)
    assert connected.met(attempt)


@pytest.mark.parametrize("attempt", ["reaches_by_tcp", "reaches_by_udp", "reaches_an_abstract_socket"])
def test_without_the_network_nothing_is_reached(isolated: Tried, connected: Tried, attempt: str) -> None:
    assert isolated.met(attempt)
    assert not connected.met(attempt)


def test_a_sandbox_shows_no_other_process(isolated: Tried) -> None:
    assert isolated.got["counts_processes"]["got"] <= 3
    assert isolated.got["finds_the_runners_variables"] == {"got": []}
    assert isolated.got["reads_its_parents_variables"] in ({"got": ""}, {"met": "PermissionError"})


def test_a_sandbox_shows_no_record_and_no_other_work(isolated: Tried) -> None:
    assert isolated.got["lists_the_record"] in ({"met": "FileNotFoundError"}, {"got": []})
    assert isolated.got["lists_other_work"] == {"got": []}


def test_a_sandbox_has_no_privileges_and_gets_none(isolated: Tried) -> None:
    may = isolated.got["says_what_it_may"]["got"]
    assert (may["NoNewPrivs"], int(may["CapEff"], 16), int(may["CapBnd"], 16)) == ("1", 0, 0)
    if sandboxes.found().flags:
        assert isolated.met("gets_a_namespace")


def test_a_fork_bomb_has_an_end_for_all_but_root(isolated: Tried) -> None:
    if (
        "uid=0"
        in subprocess.run(["stat", "-c", "uid=%u", isolated.project], capture_output=True, text=True, check=True).stdout
    ):
        pytest.skip("the kernel does not count root's processes")
    assert isolated.got["multiplies"] == {"met": "BlockingIOError"}


def test_nobody_is_left_behind(isolated: Tried, connected: Tried) -> None:
    assert (isolated.left, connected.left) == ([], [])


def test_source_and_key_are_what_they_were(isolated: Tried) -> None:
    assert "hostile.py" in (isolated.project / "pipeline.yaml").read_text()
    keys.load(isolated.project / "key")


def test_the_record_says_how_it_was_isolated(isolated: Tried, connected: Tried, open_: Tried) -> None:
    assert isolated.intended["isolation"] == {"mode": "bubblewrap", "network": False}
    assert connected.intended["isolation"] == {"mode": "bubblewrap", "network": True}
    assert open_.intended["isolation"] == {"mode": "none", "network": True}


def test_an_ordinary_runners_variables_are_its_own_even_without_a_sandbox(open_: Tried) -> None:
    """Root reads what it likes; nobody else reads our tokens out of /proc."""
    if (open_.project / "pipeline.yaml").stat().st_uid == 0:
        pytest.skip("root reads what it likes")
    assert open_.got["finds_the_runners_variables"] == {"got": []}
    assert open_.got["reads_its_parents_variables"] == {"met": "PermissionError"}


def test_without_a_sandbox_it_is_said_what_that_means(open_: Tried) -> None:
    assert not open_.met("reads_a_secret")
    assert "stages are not isolated" in open_.said


def test_where_isolation_is_required_and_cannot_be_had_nothing_starts(tmp_path: Path) -> None:
    definition = (
        "version: 1\nname: a\nisolation: required\nstages:\n  a:\n    uses: command\n    with: {run: [touch, ran]}\n"
    )
    (tmp_path / "pipeline.yaml").write_text(definition)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("git", "setpriv", "prlimit", "touch"):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    keys.make(tmp_path / "key")
    argv = [TOWPATH, "run", "--key", "key"]
    done = subprocess.run(
        argv, cwd=tmp_path, env={**os.environ, "PATH": str(tools)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "bubblewrap is not installed" in done.stderr
    assert "apt-get install bubblewrap" in done.stderr
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / ".towpath/store/runs").exists()

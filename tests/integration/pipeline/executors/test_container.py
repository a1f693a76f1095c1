"""Stages as containers of a real engine, of an image that has this machine's shell and a few programs."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import docker
import pytest
from docker.errors import NotFound
from support.machine import TOWPATH

from pipeline.executors import Ended, Job, Sight
from pipeline.executors.container import NOBODY, ContainerExecutor
from pipeline.signing import keys
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.executors import Stream

pytestmark = pytest.mark.engine
NO_NETWORK = Sight(network=False)
PROGRAMS = ("sh", "cat", "sleep", "touch", "id", "ls", "chmod", "mkdir")


@pytest.fixture(scope="module")
def client() -> Iterator[docker.APIClient]:
    made = docker.APIClient(version="auto")
    yield made
    made.close()


@pytest.fixture(scope="module")
def image(client: docker.APIClient) -> Iterator[str]:
    """An image's id: this machine's shell with a few programs and the libraries they ask for."""
    files = {f"bin/{name}": os.path.realpath(str(shutil.which(name))) for name in PROGRAMS}
    for path in list(files.values()):
        listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        files |= {name.lstrip("/"): os.path.realpath(name) for name in re.findall(r"(/\S+) \(0x", listed)}
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, path in sorted(files.items()):
            archive.add(path, name)
    load: Any = client.import_image_from_data
    load(content.getvalue(), repository="towpath-test-shell", tag=secrets.token_hex(4))
    [found] = [each for each in client.images("towpath-test-shell") if each]
    yield str(found["Id"])
    client.remove_image(found["Id"], force=True)


class Runner:
    """One executor, and the lines its jobs wrote."""

    def __init__(self, folder: Path, image: str) -> None:
        self.handle = f"test-{secrets.token_hex(6)}"
        self.work, self.image = folder / self.handle, image
        self.executor = ContainerExecutor(folder)
        self.lines: list[tuple[Stream, bytes]] = []
        for name in ("outputs", "tmp", "inputs/given"):
            (self.work / name).mkdir(parents=True)
        for name in ("request.json", "inputs/given/file"):
            (self.work / name).write_text("as it was")

    def submit(self, script: str, timeout_s: float = 30, sight: Sight = NO_NETWORK) -> None:
        variables = {"HOME": str(self.work), "TMPDIR": str(self.work / "tmp"), "W": str(self.work), "PATH": "/bin"}
        argv = ["/bin/sh", "-c", script]
        self.executor.submit(Job(self.handle, argv, self.work, self.work, variables, timeout_s, sight, self.image))

    def watch(self) -> Ended:
        return self.executor.watch(self.handle, lambda stream, line: self.lines.append((stream, line)), lambda: None)

    def run(self, script: str, **more: Any) -> Ended:
        self.submit(script, **more)
        return self.watch()

    def said(self, stream: str = "stdout") -> list[str]:
        return [line.decode() for each, line in self.lines if each == stream]


@pytest.fixture
def runner(tmp_path: Path, image: str) -> Runner:
    return Runner(tmp_path, image)


def is_there(client: docker.APIClient, name: str) -> bool:
    try:
        client.inspect_container(name)
    except NotFound:
        return False
    return True


def test_exit_code_streams_and_outputs(runner: Runner, client: docker.APIClient) -> None:
    assert runner.run("echo out; echo err >&2; mkdir $W/outputs/a; echo made > $W/outputs/a/file; exit 7") == Ended(
        7, "exited"
    )
    assert (runner.said(), runner.said("stderr")) == (["out"], ["err"])
    assert (runner.work / "outputs/a/file").read_text() == "made\n"
    assert not is_there(client, runner.handle)


def test_it_is_hardened(runner: Runner) -> None:
    script = """
    id -u; ls /proc/self/ns > /dev/null
    while read name value; do case $name in NoNewPrivs:|CapEff:|CapBnd:) echo $name $value;; esac; done < /proc/self/status
    for each in /there /bin/there $W/request.json $W/inputs/given/file $W/there; do (echo x > $each) 2>/dev/null && echo wrote $each; done
    echo x > /tmp/there && echo x > $TMPDIR/here && echo wrote tmp
    cat /proc/net/dev | while read name rest; do case $name in eth*|en*) echo network $name;; esac; done
    """
    assert runner.run(script).status == 0
    user, *said = runner.said()
    assert user == str(os.geteuid() or NOBODY)
    none = "0000000000000000"
    assert sorted(said) == sorted([f"CapEff: {none}", f"CapBnd: {none}", "NoNewPrivs: 1", "wrote tmp"])
    assert (runner.work / "request.json").read_text() == "as it was"


def test_it_sees_what_is_in_sight_and_nothing_else(runner: Runner, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / ".towpath/store").mkdir(parents=True)
    for name in ("source", ".towpath/store/record"):
        (project / name).write_text(name)
    (tmp_path / "secret").touch()
    sight = Sight(read=(project,), hidden=(project / ".towpath",), network=True)
    assert (
        runner.run(
            f"cat {project}/source; ls -A {project}/.towpath; ls {tmp_path}; (> {project}/new) 2>&1", sight=sight
        ).status
        != 0
    )
    said = runner.said()
    assert said[0].startswith("source")
    assert "record" not in " ".join(said)
    assert "secret" not in " ".join(said)
    assert not (project / "new").exists()


def test_the_network_is_there_if_it_is_in_sight(runner: Runner) -> None:
    runner.run("cat /proc/net/dev", sight=Sight(network=True))
    assert any("eth0" in line for line in runner.said())


def test_it_is_asked_to_end_then_ended(runner: Runner) -> None:
    runner.submit("trap 'echo tidied; exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    threading.Timer(1, lambda: runner.executor.cancel(runner.handle)).start()
    assert runner.watch() == Ended(3, "canceled")
    assert runner.said() == ["ready", "tidied"]


def test_one_that_does_not_listen_is_killed_at_its_time_limit(
    runner: Runner, client: docker.APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.executors.container.LIMITS", replace(LIMITS, grace_s=0.5))
    started = time.monotonic()
    ended = runner.run("trap '' TERM; while :; do sleep 0.1; done", timeout_s=0.5)
    assert (ended.reason, ended.status) == ("timed-out", 128 + signal.SIGKILL)
    assert time.monotonic() - started < LIMITS.grace_s + 3
    assert not is_there(client, runner.handle)


def test_submitting_again_does_nothing(runner: Runner) -> None:
    runner.submit("echo once >> $W/outputs/count")
    runner.submit("echo once >> $W/outputs/count")
    runner.watch()
    assert (runner.work / "outputs/count").read_text() == "once\n"


def test_an_image_that_is_not_there(runner: Runner) -> None:
    runner.image = f"sha256:{'0' * 64}"
    ended = runner.run("exit 0")
    assert ended.reason == "not-started"
    assert "No such image" in str(ended.message)
    assert runner.executor.lost(runner.handle)


DEFINITION = """
version: 1
name: shell
stages:
  make:
    uses: command
    with:
      run: [sh, -c, 'id -u; cat pipeline.yaml > /dev/null && mkdir $TOWPATH_OUTPUTS/thing && echo $GREETING > $TOWPATH_OUTPUTS/thing/it']
      image: {image}
      network: false
      variables: {{GREETING: hello}}
      outputs: [thing]
  use:
    uses: command
    needs: [make]
    with: {{run: [./use], image: "{image}", inputs: [thing]}}
"""


def test_a_pipeline_with_containers(tmp_path: Path, image: str) -> None:
    (tmp_path / "pipeline.yaml").write_text(DEFINITION.format(image=image))
    (tmp_path / "use").write_text('#!/bin/sh\ncat "$TOWPATH_INPUTS/thing/it"\nls -A .towpath\n')
    (tmp_path / "use").chmod(0o755)
    tmp_path.chmod(0o755)
    keys.make(tmp_path / "key")
    done = subprocess.run([TOWPATH, "run", "--key", "key"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"make | {os.geteuid() or NOBODY}" in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("use | ")]
    assert said == ["use | started", "use | hello", "use | work", "use | succeeded"]
    [run] = (tmp_path / ".towpath/store/runs").iterdir()
    opened, intended = (json.loads((run / f"make.1/{number:08d}.json").read_bytes())["data"] for number in range(2))
    assert opened["executor"] == "container"
    assert intended["isolation"] == {"mode": "container", "network": False}


RUNNER = """
import sys
from pathlib import Path
from pipeline.executors import Job
from pipeline.executors.container import ContainerExecutor
work, image = Path(sys.argv[1]), sys.argv[2]
executor = ContainerExecutor(work.parent)
executor.submit(Job(work.name, ["/bin/sh", "-c", "echo ready; sleep 60"], work, work, {"PATH": "/bin"}, 60, image=image))
executor.watch(work.name, lambda stream, line: print(line.decode(), flush=True), lambda: None)
"""


@pytest.mark.parametrize("guarded", [True, False])
def test_a_killed_runner_takes_its_container_along(runner: Runner, client: docker.APIClient, *, guarded: bool) -> None:
    """Its guard does; without one, whoever comes later."""
    argv = [sys.executable, "-c", RUNNER, str(runner.work), runner.image]
    if not guarded:
        argv[2] = argv[2].replace(
            "executor = ", "import pipeline.executors.container as c\nc._guard = lambda _: None\nexecutor = "
        )
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout
        assert killed.stdout.readline() == "ready\n"
        assert is_there(client, runner.handle)
        killed.kill()
    deadline = time.monotonic() + 10
    while guarded and is_there(client, runner.handle) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_there(client, runner.handle) != guarded
    assert runner.executor.lost(runner.handle)
    assert not is_there(client, runner.handle)

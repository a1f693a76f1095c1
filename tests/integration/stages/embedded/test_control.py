"""The daemon's life, by its commands."""

from __future__ import annotations

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import docker

pytestmark = pytest.mark.engine


def listens_on(pid: int) -> set[str]:
    """The addresses on which a process listens for TCP, by /proc."""
    own = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                found.add(fields[1].split(":")[0])
    return found


def children(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def gone(pid: int, wait_s: float = 5) -> bool:
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_start_is_idempotent_also_when_many_start_at_once(daemon: Any) -> None:
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda _: daemon.json("start"), range(3)))
    assert len({(answer["pid"], answer["endpoint_url"]) for answer in answers}) == 1
    assert daemon.json("status") == answers[0]
    assert answers[0]["state"] == "running"


def test_it_listens_on_loopback_only_and_leaves_nothing_running(daemon: Any) -> None:
    running = daemon.json("start")
    [child] = children(running["pid"])
    assert listens_on(running["pid"]) | listens_on(child) == {"0100007F"}
    assert daemon.json("stop")["state"] == "stopped"
    assert gone(running["pid"])
    assert gone(child)
    assert daemon.json("stop")["state"] == "stopped"


@pytest.mark.parametrize("after_s", [0.05, 0.25, 0.5, 0.8, 1.2])
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_a_daemon_whose_start_was_interrupted_is_stopped(daemon: Any, sign: signal.Signals, after_s: float) -> None:
    """It had no state file yet, so `stop` left it alone and said that it was starting."""
    with daemon.begin("start") as starting:
        time.sleep(after_s)
        starting.send_signal(sign)
    assert daemon.json("stop")["state"] == "stopped"
    time.sleep(0.5)
    assert daemon.json("status")["state"] == "stopped"
    assert daemon.processes() == []


def test_a_start_that_is_under_way_is_waited_for(daemon: Any) -> None:
    with daemon.begin("start") as starting:
        deadline = time.monotonic() + 20
        while daemon.json("status")["state"] == "stopped" and time.monotonic() < deadline:
            time.sleep(0.02)
        assert daemon.json("stop")["state"] == "stopped"
        assert starting.wait(20) == 0
    assert daemon.processes() == []


def test_state_survives_stop_and_start_at_the_same_address(
    daemon: Any, engine: docker.DockerClient, tiny_image: str, account: Any
) -> None:
    before = daemon.json("start")
    aws = account(before["endpoint_url"])
    aws.client("ecr").create_repository(repositoryName="app")
    digest = aws.push(engine, tiny_image, "app", "1")
    aws.client("s3").create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": aws.region})
    aws.client("s3").put_object(Bucket="kept", Key="a", Body=b"1")
    daemon.json("stop")
    after = daemon.json("start")
    assert after["endpoint_url"] == before["endpoint_url"]
    assert after["pid"] != before["pid"]
    [image] = aws.client("ecr").describe_images(repositoryName="app")["imageDetails"]
    assert image["imageDigest"] == digest
    assert aws.client("s3").get_object(Bucket="kept", Key="a")["Body"].read() == b"1"
    pulled = engine.images.pull(aws.reference("app", f"@{digest}"), auth_config=aws.login)
    assert pulled.attrs["RepoDigests"]
    engine.images.remove(aws.reference("app", f"@{digest}"), force=True)


def test_a_killed_daemon_is_recovered(
    daemon: Any, engine: docker.DockerClient, function_image: str, account: Any
) -> None:
    """kill -9 in the middle: no orphan keeps running, the next start works, and what was said a while ago is kept."""
    before = daemon.json("start")
    aws = account(before["endpoint_url"])
    aws.client("ecr").create_repository(repositoryName="app")
    digest = aws.push(engine, function_image, "app", "1")
    aws.client("lambda").create_function(
        FunctionName="hello",
        Role=f"arn:aws:iam::{aws.account}:role/any",
        PackageType="Image",
        Code={"ImageUri": aws.uri("app", f"@{digest}")},
    )
    aws.client("lambda").invoke(FunctionName="hello")
    own: dict[str, str | list[str] | bool] = {"label": f"towpath.embedded={daemon.home}"}
    assert len(engine.containers.list(filters=own)) == 1
    time.sleep(2.5)  # it saves two seconds after a change
    [child] = children(before["pid"])
    os.kill(before["pid"], signal.SIGKILL)
    assert gone(child), "the registry must end with the daemon"
    assert daemon.json("status")["state"] == "stopped"
    after = daemon.json("start")
    assert after["endpoint_url"] == before["endpoint_url"]
    assert engine.containers.list(all=True, filters=own) == []
    assert aws.client("lambda").invoke(FunctionName="hello")["StatusCode"] == 200
    assert len(engine.containers.list(filters=own)) == 1
    daemon.json("stop")
    assert engine.containers.list(all=True, filters=own) == []


def test_stop_after_a_kill_removes_the_containers_too(
    daemon: Any, engine: docker.DockerClient, tiny_image: str
) -> None:
    running = daemon.json("start")
    labels = {"towpath": "function", "towpath.embedded": str(daemon.home)}
    left = engine.containers.create(tiny_image, ["/none"], labels=labels)
    os.kill(running["pid"], signal.SIGKILL)
    daemon.json("stop")
    assert left.id not in [each.id for each in engine.containers.list(all=True)]


def test_a_port_that_is_taken(daemon: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = type(daemon)(daemon.home, str(taken.getsockname()[1])).run("start")
    assert done.returncode == 1
    assert "is taken by another program" in done.stderr
    assert "TOWPATH_EMBEDDED_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_was_asked_for(daemon: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = type(daemon)(daemon.home, str(port)).json("start")
    assert running["endpoint_url"] == f"http://127.0.0.1:{port}"
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass

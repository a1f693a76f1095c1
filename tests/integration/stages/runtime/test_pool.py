"""Functions in real containers: every way one can end, what is kept warm, and what is left behind."""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from stages.images import direct
from stages.runtime.container import listed, network
from stages.runtime.model import Call, Function
from stages.runtime.pool import Pool, remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

    from stages.images.direct import Engine

pytestmark = pytest.mark.engine


@pytest.fixture
def labels() -> dict[str, str]:
    return {"towpath.test": uuid.uuid4().hex}


@pytest.fixture
def pool(spoken: Engine, labels: dict[str, str]) -> Iterator[Pool]:
    with Pool(spoken, network(spoken), labels) as pool:
        yield pool
    assert listed(spoken, ["=".join(*labels.items())]) == []


@pytest.fixture
def function(function_image: str) -> Function:
    return Function("hello", function_image, "111122223333", "eu-west-1", memory_mb=256, timeout_s=5)


def containers(engine: docker.DockerClient, labels: dict[str, str]) -> list[str]:
    [(key, value)] = labels.items()
    return [str(each.id) for each in engine.containers.list(all=True, filters={"label": f"{key}={value}"})]


def event(do: str, **more: Any) -> Call:
    return Call(json.dumps({"do": do, **more}).encode())


def test_a_handlers_answer_and_its_log(pool: Pool, function: Function) -> None:
    outcome = pool.invoke(function, Call(b'{"path":"/hello"}', "r-1"))
    assert outcome.kind == "succeeded"
    assert json.loads(json.loads(outcome.payload)["body"]) == {"message": "hello", "path": "/hello"}
    assert outcome.log == "handling\n"
    assert outcome.request_id == "r-1"
    assert outcome.init_ms is not None


def test_an_environment_is_kept_warm_and_used_again(pool: Pool, function: Function) -> None:
    outcomes = [pool.invoke(function, event("count")) for _ in range(3)]
    assert [outcome.payload for outcome in outcomes] == [b"1", b"2", b"3"]
    assert [outcome.init_ms is None for outcome in outcomes] == [False, True, True]
    assert outcomes[2].log == "handling\n", "an invocation's log must not hold that of the one before"


def test_it_runs_as_lambda_runs_it(pool: Pool, function: Function) -> None:
    mine = dataclasses.replace(function, variables={"STAGE": "test", "AWS_REGION": "nowhere"})
    alias = f"{function.arn}:live"
    seen = json.loads(pool.invoke(mine, Call(event("look").payload, arn=alias)).payload)
    assert seen["uid"] == 993
    assert seen["capabilities"] == 0
    assert seen["arn"] == alias
    assert 4000 < seen["left_ms"] <= 5000
    assert seen["memory_mb"] == "256"
    assert seen["environment"]["STAGE"] == "test"
    assert seen["environment"]["AWS_REGION"] == "eu-west-1"
    assert seen["environment"]["AWS_LAMBDA_FUNCTION_NAME"] == "hello"


def test_only_tmp_can_be_written(pool: Pool, function: Function) -> None:
    assert pool.invoke(function, event("write", path="/tmp/file")).kind == "succeeded"  # noqa: S108 - the function's
    refused = pool.invoke(function, event("write", path="/var/task/file"))
    assert refused.kind == "handler-error"
    assert "Read-only file system" in json.loads(refused.payload)["errorMessage"]


def test_a_handler_that_raises(pool: Pool, function: Function) -> None:
    outcome = pool.invoke(function, event("fail"))
    assert outcome.kind == "handler-error"
    assert json.loads(outcome.payload)["errorType"] == "ValueError"
    assert "no good" in outcome.log
    assert pool.invoke(function, event("hello")).init_ms is None, "a handler's error does not end its environment"


@pytest.mark.parametrize(
    ("call", "kind", "error_type"),
    [
        (event("leave"), "exited", "Runtime.ExitError"),
        (event("eat"), "out-of-memory", "Runtime.OutOfMemory"),
        (event("large", bytes=6_291_560), "response-too-large", "Function.ResponseSizeTooLarge"),
        (event("sleep", seconds=30), "timeout", "Sandbox.Timedout"),
    ],
)
def test_endings_that_cost_the_environment(
    pool: Pool, function: Function, call: Call, kind: str, error_type: str
) -> None:
    mine = dataclasses.replace(function, timeout_s=1.5 if kind == "timeout" else 20)
    outcome = pool.invoke(mine, call)
    assert (outcome.kind, json.loads(outcome.payload)["errorType"]) == (kind, error_type)
    assert outcome.duration_ms < 15_000
    after = pool.invoke(mine, event("count"))
    assert (after.payload, after.init_ms is None) == (b"1", False), "the next one needs an environment of its own"


BROKEN: list[tuple[dict[str, Any], str, str, str]] = [
    ({"command": ["missing.handler"]}, "init-error", "Runtime.ImportModuleError", "Unable to import module"),
    ({"entrypoint": ["/missing"]}, "broken-image", "Runtime.InvalidEntrypoint", "no such file"),
    ({"entrypoint": ["/bin/true"]}, "exited", "Runtime.ExitError", "without providing a reason"),
    ({"working_directory": "/etc/passwd"}, "broken-image", "Runtime.InvalidWorkingDir", "not a directory"),
    ({"image": "towpath-test-runtime:missing"}, "broken-image", "ImageNotFound", "does not have the image"),
]


@pytest.mark.parametrize("case", BROKEN)
def test_images_that_do_not_start(pool: Pool, function: Function, case: tuple[dict[str, Any], str, str, str]) -> None:
    changes, kind, error_type, message = case
    outcome = pool.invoke(dataclasses.replace(function, **changes), Call(b"{}"))
    error = json.loads(outcome.payload)
    assert (outcome.kind, error["errorType"]) == (kind, error_type)
    assert message in error["errorMessage"]


def test_a_command_in_place_of_the_images(pool: Pool, function: Function) -> None:
    assert pool.invoke(dataclasses.replace(function, command=["handler.count"]), Call(b"{}")).payload == b"1"


def test_each_runs_in_an_environment_of_its_own(
    pool: Pool, function: Function, engine: docker.DockerClient, labels: dict[str, str]
) -> None:
    with ThreadPoolExecutor(3) as threads:
        outcomes = list(threads.map(lambda _: pool.invoke(function, event("sleep", seconds=0.5)), range(3)))
    assert [outcome.kind for outcome in outcomes] == ["succeeded"] * 3
    assert len(containers(engine, labels)) == 3


def test_a_call_waits_for_an_environment_once_there_are_as_many_as_there_may_be(
    spoken: Engine, function: Function, labels: dict[str, str]
) -> None:
    with (
        Pool(spoken, network(spoken), labels, patience_s=0.1, most=2, starts=1) as pool,
        ThreadPoolExecutor(6) as threads,
    ):
        outcomes = list(threads.map(lambda _: pool.invoke(function, event("sleep", seconds=0.3)), range(6)))
        assert [outcome.kind for outcome in outcomes] == ["succeeded"] * 6
        assert len(listed(spoken, ["=".join(*labels.items())])) <= 2


def test_an_engine_that_is_reached_by_its_client(
    spoken: Engine, function: Function, labels: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one at another machine: here it is told only that it is, by a variable that an engine at a socket ignores."""
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setattr("docker.utils.kwargs_from_env", dict)
    with closing(direct.connect()) as reached:
        assert type(reached) is not type(spoken)
        with Pool(reached, network(reached), labels, quiet_s=0.05, waits=False) as pool:
            outcome = pool.invoke(function, event("hello"))
            assert (outcome.kind, outcome.log) == ("succeeded", "handling\n")
            broken = pool.invoke(dataclasses.replace(function, entrypoint=["/gone"]), event("hello"))
            assert broken.kind == "broken-image"
    deadline = time.monotonic() + 10
    while listed(spoken, ["=".join(*labels.items())]):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_changed_function_replaces_its_idle_environments(
    pool: Pool, function: Function, engine: docker.DockerClient, labels: dict[str, str]
) -> None:
    pool.invoke(function, Call(b"{}"))
    [before] = containers(engine, labels)
    pool.invoke(dataclasses.replace(function, variables={"NEW": "1"}), Call(b"{}"))
    [after] = containers(engine, labels)
    assert before != after
    pool.drop("111122223333", "hello")
    assert containers(engine, labels) == []


def test_what_a_killed_process_left_is_removed(
    engine: docker.DockerClient, spoken: Engine, function: Function, labels: dict[str, str]
) -> None:
    pool = Pool(spoken, network(spoken), labels)
    pool.invoke(function, Call(b"{}"))
    assert remove_leftovers(spoken, {"towpath.test": "another"}) == 0
    assert remove_leftovers(spoken, labels) == 1
    assert containers(engine, labels) == []
    time.sleep(0.3)
    assert pool.invoke(function, event("count")).payload == b"1", "it was removed under our eyes: a new one is made"
    pool.close()

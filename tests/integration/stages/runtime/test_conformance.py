"""Rows of docs/reference/lambda-runtime.md that need a container; other tests here and in tests/unit stand for the others."""

from __future__ import annotations

import dataclasses
import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from stages.runtime.container import network
from stages.runtime.model import Call, Function
from stages.runtime.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.images.direct import Engine

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def pool(spoken: Engine) -> Iterator[Pool]:
    with Pool(spoken, network(spoken), {"towpath.test": uuid.uuid4().hex}, quiet_s=0.05) as pool:
        yield pool


@pytest.fixture
def function(function_image: str) -> Function:
    variables = {"STAGE": "test", "LANG": "mine"}
    credentials = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}
    return Function(
        "hello",
        function_image,
        "111122223333",
        "eu-west-1",
        memory_mb=256,
        timeout_s=5,
        variables=variables,
        credentials=credentials,
    )


def ask(pool: Pool, function: Function, do: str, **call: Any) -> Any:
    outcome = pool.invoke(function, Call(json.dumps({"do": do}).encode(), **call))
    assert outcome.succeeded, outcome
    return json.loads(outcome.payload)


def test_variables(pool: Pool, function: Function) -> None:
    seen = ask(pool, function, "look")
    environment = seen["environment"]
    expected = {
        "_HANDLER": "handler.handler",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_LAMBDA_FUNCTION_NAME": "hello",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/hello",
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "TZ": ":UTC",
        "STAGE": "test",
        "LANG": "mine",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    assert {name: environment.get(name) for name in expected} == expected
    assert environment["AWS_LAMBDA_RUNTIME_API"].count(":") == 1
    assert "AWS_EXECUTION_ENV" not in environment, "Lambda does not set it in images"


def test_the_context(pool: Pool, function: Function) -> None:
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    context = json.dumps({"custom": {"a": "b"}})
    seen = ask(pool, function, "look", request_id="r-1", trace_id=trace, client_context=context)
    assert (seen["request_id"], seen["custom"], seen["version"]) == ("r-1", {"a": "b"}, "$LATEST")
    assert seen["environment"]["_X_AMZN_TRACE_ID"] == trace
    assert seen["log"] == [seen["environment"][f"AWS_LAMBDA_LOG_{name}_NAME"] for name in ("GROUP", "STREAM")]
    assert 4000 < seen["left_ms"] <= 5000


def test_what_of_the_machine_it_may_use(pool: Pool, function: Function) -> None:
    elsewhere = {"PYTHONPATH": "/var/task"}
    changed = dataclasses.replace(function, storage_mb=600, working_directory="/usr", variables=elsewhere)
    seen = ask(pool, changed, "probe")
    assert seen["open_files"] == [1024, 1024]
    assert seen["shared_memory"] is False
    assert seen["storage_mb"] == 600
    assert seen["folder"] == "/usr"


def test_tmp_is_kept_as_long_as_the_environment(pool: Pool, function: Function) -> None:
    call = Call(json.dumps({"do": "write", "path": "/tmp/kept"}).encode())  # noqa: S108 - the function's
    pool.invoke(function, call)
    assert ask(pool, function, "probe")["kept"] == ["kept"]
    pool.invoke(function, Call(b'{"do": "leave"}'))
    assert ask(pool, function, "probe")["kept"] == []


def test_both_streams_are_the_log(pool: Pool, function: Function) -> None:
    outcome = pool.invoke(function, Call(b'{"do": "probe"}'))
    assert sorted(outcome.log.splitlines()) == ["handling", "to stderr", "to stdout"]

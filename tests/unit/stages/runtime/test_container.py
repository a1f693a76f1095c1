from __future__ import annotations

import dataclasses
from typing import Any
from unittest.mock import Mock

import pytest

from stages.contract import StageError
from stages.runtime.container import Network, environment, network, options
from stages.runtime.model import Function

WHERE = Network("bridge", "towpath-functions", "172.19.0.1")
FUNCTION = Function("hello", "image", "111122223333", "eu-west-1", memory_mb=256, variables={"STAGE": "test"})
IMAGE: dict[str, Any] = {"Entrypoint": ["/usr/bin/python3", "-m", "awslambdaric"], "Cmd": ["app.handler"]}


def test_a_container_is_as_tight_as_lambdas() -> None:
    made = options(FUNCTION, WHERE, "172.19.0.1:4000", {}, IMAGE)
    assert made["read_only"] is True
    assert made["cap_drop"] == ["ALL"]
    assert made["security_opt"] == ["no-new-privileges:true"]
    assert made["user"] == "993:990"
    assert made["pids_limit"] == 1024
    assert made["mem_limit"] == made["memswap_limit"] == "256m"
    assert list(made["tmpfs"]) == ["/tmp"]  # noqa: S108 - Lambda's one place to write
    assert made["network"] == "towpath-functions"


def test_an_entrypoint_of_the_function_keeps_the_images_command() -> None:
    """An engine drops the image's command when it is given an entrypoint; ImageConfig does not."""
    replaced = dataclasses.replace(FUNCTION, entrypoint=["/my/runtime"])
    made = options(replaced, WHERE, "api", {}, IMAGE)
    assert (made["entrypoint"], made["command"]) == (["/my/runtime"], ["app.handler"])


def test_a_command_of_the_function_is_its_handler() -> None:
    replaced = dataclasses.replace(FUNCTION, command=["other.handler"])
    made = options(replaced, WHERE, "api", {}, IMAGE)
    assert (made["entrypoint"], made["command"]) == (None, ["other.handler"])
    assert made["environment"]["_HANDLER"] == "other.handler"


def test_lambdas_own_variables_cannot_be_replaced() -> None:
    mine = dataclasses.replace(FUNCTION, variables={"AWS_LAMBDA_RUNTIME_API": "evil:1", "AWS_REGION": "x", "TZ": "CET"})
    made = environment(mine, "172.19.0.1:4000", [])
    assert made["AWS_LAMBDA_RUNTIME_API"] == "172.19.0.1:4000"
    assert made["AWS_REGION"] == made["AWS_DEFAULT_REGION"] == "eu-west-1"
    assert made["TZ"] == "CET"
    assert made["AWS_LAMBDA_FUNCTION_NAME"] == "hello"
    assert made["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"


def test_functions_are_told_of_an_aws_only_if_there_is_one() -> None:
    with_aws = dataclasses.replace(WHERE, aws="127.0.0.1:4717")
    assert "AWS_ENDPOINT_URL" not in options(FUNCTION, WHERE, "api:1", {}, IMAGE)["environment"]
    assert options(FUNCTION, with_aws, "api:1", {}, IMAGE)["environment"]["AWS_ENDPOINT_URL"] == "http://api:1"


def test_identity_tells_any_difference() -> None:
    other = dataclasses.replace(FUNCTION, variables={"STAGE": "other"})
    assert FUNCTION.identity == dataclasses.replace(FUNCTION).identity
    assert FUNCTION.identity != other.identity
    assert dataclasses.replace(FUNCTION, version="3").arn.endswith(":function:hello:3")


def test_an_unknown_network_is_refused_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWPATH_FUNCTION_NETWORK", "hots")
    with pytest.raises(StageError, match="'hots'") as caught:
        network(Mock())
    assert caught.value.hint == "Set it to one of: bridge, host."

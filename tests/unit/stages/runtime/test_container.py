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
    host = made["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert made["User"] == "993:990"
    assert host["PidsLimit"] == 1024
    assert host["Memory"] == host["MemorySwap"] == 256 * 1024 * 1024
    assert list(host["Tmpfs"]) == ["/tmp"]  # noqa: S108 - Lambda's one place to write
    assert host["NetworkMode"] == "towpath-functions"
    assert host["PortBindings"] == {}


def test_a_debuggers_port_is_published_on_loopback_alone() -> None:
    made = options(dataclasses.replace(FUNCTION, ports=(5678,)), WHERE, "api", {}, IMAGE)
    assert made["ExposedPorts"] == {"5678/tcp": {}}
    assert made["HostConfig"]["PortBindings"] == {"5678/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5678"}]}


def test_an_entrypoint_of_the_function_keeps_the_images_command() -> None:
    """An engine drops the image's command when it is given an entrypoint; ImageConfig does not."""
    replaced = dataclasses.replace(FUNCTION, entrypoint=["/my/runtime"])
    made = options(replaced, WHERE, "api", {}, IMAGE)
    assert (made["Entrypoint"], made["Cmd"]) == (["/my/runtime"], ["app.handler"])


def test_a_command_of_the_function_is_its_handler() -> None:
    replaced = dataclasses.replace(FUNCTION, command=["other.handler"])
    made = options(replaced, WHERE, "api", {}, IMAGE)
    assert (made["Entrypoint"], made["Cmd"]) == (None, ["other.handler"])
    assert "_HANDLER=other.handler" in made["Env"]


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
    told = "AWS_ENDPOINT_URL=http://api:1"
    assert told not in options(FUNCTION, WHERE, "api:1", {}, IMAGE)["Env"]
    assert told in options(FUNCTION, with_aws, "api:1", {}, IMAGE)["Env"]


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

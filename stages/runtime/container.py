"""The container that one environment of a function is."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from stages.contract import StageError
from stages.runtime.model import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker
    from docker.models.containers import Container

    from stages.runtime.model import Function

NetworkMode = Literal["bridge", "host"]
NETWORK_VARIABLE = "TOWPATH_FUNCTION_NETWORK"
_BRIDGE = "towpath-functions"
_SENT_S = 0.001
_USER = "993:990"  # as AWS: no user of the image, no rights


class BrokenImage(Exception):
    """The engine cannot start the image at all."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class Output:
    """What a container writes to both its streams, to its end.

    It comes sooner than what the engine's log driver keeps, so that a line belongs to the invocation that wrote it.
    """

    def __init__(self, engine: docker.DockerClient, container: Container) -> None:
        streams = {"stdout": 1, "stderr": 1, "stream": 1}
        self._connection: Any = engine.api.attach_socket(str(container.id), streams)

    def __iter__(self) -> Iterator[bytes]:
        from docker.utils import socket as multiplexed

        frames: Any = multiplexed
        return (piece for _, piece in frames.frames_iter(self._connection, tty=False))

    def close(self) -> None:
        self._connection._response.close()  # noqa: SLF001 - closing the connection itself leaves its socket open


@dataclass(frozen=True)
class Network:
    """Where containers run: the engine's name for it, and the address of this machine that they see.

    `bridge`: a network of its own, on which containers cannot see each other or this machine's loopback. `host`: this
    machine's network, for engines or firewalls where containers cannot reach it otherwise; then functions see what
    listens on its loopback. `aws` is `host:port` of an AWS on this machine that functions shall call instead of the real
    one, or None.
    """

    mode: NetworkMode
    name: str
    address: str
    aws: str | None = None


def network(engine: docker.DockerClient, mode: str | None = None, aws: str | None = None) -> Network:
    """The network to run functions in, made if missing. `mode` is by default $TOWPATH_FUNCTION_NETWORK, or `bridge`.

    Raises StageError.
    """
    mode = mode or os.environ.get(NETWORK_VARIABLE) or "bridge"
    if mode not in get_args(NetworkMode):
        hint = f"Set it to one of: {', '.join(get_args(NetworkMode))}."
        raise StageError(f"{NETWORK_VARIABLE} is {mode!r}, which is no kind of network for functions", hint=hint)
    if mode == "host":
        return Network("host", "host", "127.0.0.1", aws)
    return Network("bridge", _BRIDGE, _gateway(engine), aws)


def _gateway(engine: docker.DockerClient) -> str:
    from docker.errors import APIError, NotFound

    try:
        try:
            bridge = engine.networks.get(_BRIDGE)
        except NotFound:
            apart = {"com.docker.network.bridge.enable_icc": "false"}
            engine.networks.create(_BRIDGE, driver="bridge", options=apart, labels={"towpath": "functions"})
            bridge = engine.networks.get(_BRIDGE)
        return str(bridge.attrs["IPAM"]["Config"][0]["Gateway"])
    except (APIError, KeyError, IndexError) as error:
        hint = f"Set {NETWORK_VARIABLE}=host to run functions in this machine's own network."
        raise StageError(f"the engine has no usable network {_BRIDGE!r}: {error}", hint=hint) from error


def start(
    engine: docker.DockerClient, function: Function, where: Network, api: str, labels: dict[str, str]
) -> tuple[Container, Output]:
    """Start a container for the function; its runtime will call the Runtime API at `api`.

    Gives it with what it writes, from its beginning. Raises BrokenImage.
    """
    from docker.errors import APIError, ImageNotFound

    container = output = None
    try:
        image = engine.images.get(function.image)
        container = engine.containers.create(image, **options(function, where, api, labels, image.attrs["Config"]))
        output = Output(engine, container)
        container.start()
        container.reload()
    except ImageNotFound as error:
        raise BrokenImage("ImageNotFound", f"the engine does not have the image {function.image}") from error
    except BaseException as error:
        if output is not None:
            output.close()
        if container is not None:
            container.remove(force=True)
        if not isinstance(error, APIError):
            raise
        kind = (
            "Runtime.InvalidWorkingDir"
            if "chdir" in str(error) or "mkdir" in str(error)
            else "Runtime.InvalidEntrypoint"
        )
        raise BrokenImage(kind, str(error.explanation or error)) from error
    return container, output


def remove(engine: docker.DockerClient, container: Container, *, waits: bool = True) -> None:
    """End a container and remove it; if not `waits`, the engine is asked to, and its answer is not waited for."""
    import requests

    if waits:
        container.remove(force=True)
        return
    url = f"{engine.api.base_url}/v{engine.api.api_version}/containers/{container.id}"
    with contextlib.suppress(requests.Timeout):
        engine.api.delete(url, params={"force": True}, timeout=_SENT_S)


def address(running: Container, where: Network) -> str:
    """The address that a container calls from."""
    if where.mode == "host":
        return where.address
    return str(running.attrs["NetworkSettings"]["Networks"][where.name]["IPAddress"])


def options(
    function: Function, where: Network, api: str, labels: dict[str, str], image: dict[str, Any]
) -> dict[str, Any]:
    """How to create the container, in docker-py's words. `image` is the image's own configuration."""
    command = function.command if function.command is not None else image.get("Cmd") or []
    memory = f"{function.memory_mb}m"
    return {
        "entrypoint": function.entrypoint,
        # An entrypoint given at creation drops the image's command, which ImageConfig does not: say both.
        "command": command or None,
        "working_dir": function.working_directory,
        "environment": {
            **({"AWS_ENDPOINT_URL": f"http://{api}"} if where.aws else {}),
            **environment(function, api, command),
        },
        "labels": {"towpath": "function", "towpath.function": function.arn, **labels},
        "network": where.name,
        "user": _USER,
        "read_only": True,
        "tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={function.storage_mb}m"},  # noqa: S108 - Lambda's one place to write
        "ipc_mode": "none",  # no /dev/shm, as Lambda has none
        "ulimits": [{"Name": "nofile", "Soft": LIMITS.open_files, "Hard": LIMITS.open_files}],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "mem_limit": memory,
        "memswap_limit": memory,
        "pids_limit": LIMITS.processes,
        "log_config": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
        "stdin_open": False,
        "detach": True,
        "ports": {f"{port}/tcp": ("127.0.0.1", port) for port in function.ports},
    }


def environment(function: Function, api: str, command: list[str]) -> dict[str, str]:
    """The variables of the container: the function's own, and Lambda's, which win, for Lambda reserves their names.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html. The image's own stay below these.
    """
    return {
        "TZ": ":UTC",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        **function.variables,
        **function.credentials,
        "_HANDLER": command[0] if command else "",
        "AWS_REGION": function.region,
        "AWS_DEFAULT_REGION": function.region,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"[{function.version}]{function.identity[:32]}",
        "AWS_LAMBDA_RUNTIME_API": api,
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
    }

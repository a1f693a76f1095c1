"""The container that one environment of a function is."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import quote

from stages.contract import StageError
from stages.images.direct import Refused
from stages.runtime.model import LIMITS

if TYPE_CHECKING:
    from stages.contract import Json
    from stages.images.direct import Attached, Engine
    from stages.runtime.model import Function

NetworkMode = Literal["bridge", "host"]
NETWORK_VARIABLE = "TOWPATH_FUNCTION_NETWORK"
_BRIDGE = "towpath-functions"
_NETWORK = {
    "Name": _BRIDGE,
    "Driver": "bridge",
    "CheckDuplicate": True,
    "Options": {"com.docker.network.bridge.enable_icc": "false"},
    "Labels": {"towpath": "functions"},
}
_USER = "993:990"  # as AWS: no user of the image, no rights


class BrokenImage(Exception):
    """The engine cannot start the image at all."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


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


def network(engine: Engine, mode: str | None = None, aws: str | None = None) -> Network:
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


_PORT_TAKEN = ("port is already allocated", "address already in use")


def _gateway(engine: Engine) -> str:
    try:
        try:
            bridge = engine.call("GET", f"/networks/{_BRIDGE}")
        except Refused as error:
            if error.status != 404:
                raise
            engine.call("POST", "/networks/create", _NETWORK)
            bridge = engine.call("GET", f"/networks/{_BRIDGE}")
        return str(bridge["IPAM"]["Config"][0]["Gateway"])
    except (Refused, KeyError, IndexError) as error:
        hint = f"Set {NETWORK_VARIABLE}=host to run functions in this machine's own network."
        raise StageError(f"the engine has no usable network {_BRIDGE!r}: {error}", hint=hint) from error


@dataclass(frozen=True)
class Container:
    """One that was started: its id, the address that it calls from, and what it writes from its beginning."""

    id: str
    address: str
    output: Attached


def start(engine: Engine, function: Function, where: Network, api: str, labels: dict[str, str]) -> Container:
    """Start a container for the function; its runtime will call the Runtime API at `api`.

    Raises BrokenImage, StageError if the engine does not answer.
    """
    made = output = None
    try:
        image = engine.call("GET", f"/images/{quote(function.image)}/json")
        made = str(
            engine.call("POST", "/containers/create", options(function, where, api, labels, image["Config"]))["Id"]
        )
        output = engine.attach(made)
        engine.call("POST", f"/containers/{made}/start")
        return Container(made, _address(engine, made, where), output)
    except BaseException as error:
        if output is not None:
            output.close()
        if made is not None:
            remove(engine, made)
        if isinstance(error, Refused):
            _refuse_ports(error, function)
            raise _broken(error, function, made) from error
        if isinstance(error, OSError):
            raise StageError(f"the container engine does not answer: {error}", cls="retryable") from error
        raise


def _refuse_ports(error: Refused, function: Function) -> None:
    """Raise StageError if the engine could not have the ports: the image is not to blame."""
    if function.ports and any(each in error.message for each in _PORT_TAKEN):
        ports = ", ".join(map(str, function.ports))
        hint = "Choose another, or end the program or the container that has it."
        raise StageError(f"the port {ports} of this machine cannot be had: something listens there", hint=hint)


def _broken(error: Refused, function: Function, made: str | None) -> BrokenImage:
    if made is None and error.status == 404:
        return BrokenImage("ImageNotFound", f"the engine does not have the image {function.image}")
    folder = "chdir" in error.message or "mkdir" in error.message
    return BrokenImage("Runtime.InvalidWorkingDir" if folder else "Runtime.InvalidEntrypoint", error.message)


def _address(engine: Engine, container: str, where: Network) -> str:
    if where.mode == "host":
        return where.address
    networks = engine.call("GET", f"/containers/{container}/json")["NetworkSettings"]["Networks"]
    return str(networks[where.name]["IPAddress"])


def remove(engine: Engine, container: str, *, waits: bool = True) -> None:
    """End a container and remove it; if not `waits`, the engine is asked to, and its answer is not waited for.

    It may be gone, or the engine may be: then nothing is left to do about it.
    """
    ask = engine.call if waits else engine.tell
    with contextlib.suppress(Refused, OSError):
        ask("DELETE", f"/containers/{container}?force=1")


def listed(engine: Engine, labels: list[str]) -> list[Json]:
    """The containers that have all of these labels, whether they run or have ended."""
    filters = quote(json.dumps({"label": labels}))
    found: list[Json] = engine.call("GET", f"/containers/json?all=1&filters={filters}")
    return found


def options(function: Function, where: Network, api: str, labels: dict[str, str], image: Json) -> Json:
    """How to create the container, in the engine's words. `image` is the image's own configuration."""
    command = function.command if function.command is not None else image.get("Cmd") or []
    memory_bytes = function.memory_mb * 1024 * 1024
    environ = {
        **({"AWS_ENDPOINT_URL": f"http://{api}"} if where.aws else {}),
        **environment(function, api, command),
    }
    return {
        "Image": function.image,
        "Entrypoint": function.entrypoint,
        # An entrypoint given at creation drops the image's command, which ImageConfig does not: say both.
        "Cmd": command or None,
        "WorkingDir": function.working_directory or "",
        "Env": [f"{name}={value}" for name, value in environ.items()],
        "Labels": {"towpath": "function", "towpath.function": function.arn, **labels},
        "User": _USER,
        "ExposedPorts": {f"{port}/tcp": {} for port in function.ports},
        "HostConfig": {
            "NetworkMode": where.name,
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={function.storage_mb}m"},  # noqa: S108 - Lambda's one place to write
            "IpcMode": "none",  # no /dev/shm, as Lambda has none
            "Ulimits": [{"Name": "nofile", "Soft": LIMITS.open_files, "Hard": LIMITS.open_files}],
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "Memory": memory_bytes,
            "MemorySwap": memory_bytes,
            "PidsLimit": LIMITS.processes,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
            "PortBindings": {
                f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}] for port in function.ports
            },
        },
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

"""What is run, and what comes of it."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Literal

OutcomeKind = Literal[
    "succeeded",
    "handler-error",
    "init-error",
    "timeout",
    "out-of-memory",
    "exited",
    "broken-image",
    "response-too-large",
]
"""`handler-error`: the handler raised. `init-error`: the runtime could not load it. `exited`: the process ended by itself.
`broken-image`: it could not even be started. `timeout`: the handler took too long, or the runtime never asked for work."""


@dataclass(frozen=True)
class RuntimeLimits:
    """Bounds, with Lambda's own values where it has them (docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""

    payload_bytes: int = 6_291_556
    """A synchronous request or response."""
    init_s: float = 10.0
    """Before it counts against the function's own timeout. An environment that has not asked for work after both is given up."""
    processes: int = 1024
    open_files: int = 1024
    log_bytes: int = 1_048_576
    """Kept of one invocation's log: its end."""
    idle_s: float = 300.0
    """How long an environment waits for its next invocation before it is removed."""
    quiet_s: float = 0.015
    """A log is whole once nothing more has come for so long: the engine passes lines on a little late."""


LIMITS = RuntimeLimits()


@dataclass(frozen=True)
class Function:
    """A function as configured. `image` is what the engine knows it by: an id, or a reference by digest.

    `command`, `entrypoint` and `working_directory` replace the image's own, as ImageConfig does; None keeps them.
    `variables` are the function's, `credentials` what AWS's SDKs find in it. `ports` are published on this machine's loopback.
    """

    name: str
    image: str
    account: str
    region: str
    version: str = "$LATEST"
    memory_mb: int = 128
    timeout_s: float = 3.0
    storage_mb: int = 512
    variables: dict[str, str] = field(default_factory=dict)
    credentials: dict[str, str] = field(default_factory=dict)
    command: list[str] | None = None
    entrypoint: list[str] | None = None
    working_directory: str | None = None
    ports: tuple[int, ...] = ()

    @property
    def arn(self) -> str:
        """The function's ARN; with its version unless that is $LATEST."""
        arn = f"arn:aws:lambda:{self.region}:{self.account}:function:{self.name}"
        return arn if self.version == "$LATEST" else f"{arn}:{self.version}"

    @cached_property
    def identity(self) -> str:
        """A digest over everything: two environments with equal identities are interchangeable."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Call:
    """One call of a function. `arn` is the one that was called, if that is not the function's own: an alias.

    `client_context` is JSON, `trace_id` X-Ray's header; without one there is a new one.
    """

    payload: bytes
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    arn: str | None = None
    client_context: str = ""
    trace_id: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of one invocation.

    `payload` is the handler's answer, or a JSON object with errorType and errorMessage. `log` is what the container wrote
    to both its streams meanwhile. `init_ms` is None in an environment that was warm already.
    """

    kind: OutcomeKind
    payload: bytes
    log: str
    request_id: str
    duration_ms: float
    init_ms: float | None = None

    @property
    def succeeded(self) -> bool:
        return self.kind == "succeeded"


def error_payload(error_type: str, message: str) -> bytes:
    """A function error in Lambda's form."""
    return json.dumps({"errorType": error_type, "errorMessage": message}).encode()

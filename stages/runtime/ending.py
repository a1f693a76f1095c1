"""How an invocation ended, in Lambda's words: pure, so that every ending can be tested without a container."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.runtime.container import NETWORK_VARIABLE
from stages.runtime.model import LIMITS, error_payload

if TYPE_CHECKING:
    from stages.runtime.exchange import Answer, Ending
    from stages.runtime.model import Function, OutcomeKind

_AS_ANSWERED: dict[Ending, OutcomeKind] = {
    "response": "succeeded",
    "error": "handler-error",
    "init-error": "init-error",
}
_SIGNALS = {
    132: "illegal instruction",
    134: "aborted",
    135: "bus error",
    136: "floating point exception",
    137: "killed",
    139: "segmentation fault",
}
"""Of exit codes with which nothing ends but what a signal ended: the engine tells 128 and the signal's number."""


@dataclass(frozen=True)
class Exit:
    """How a container ended, as the engine tells it."""

    code: int
    out_of_memory: bool
    error: str = ""


def judge(
    answer: Answer, exited: Exit | None, *, function: Function, request_id: str, api: str, log: str
) -> tuple[OutcomeKind, bytes]:
    """The kind of outcome and its payload. `api` is the Runtime API's address, `log` the container's so far.

    A container that ended and of which the engine tells nothing (`exited` is None) was removed by somebody.
    """
    if answer.ending in _AS_ANSWERED:
        return _AS_ANSWERED[answer.ending], answer.body
    if answer.ending == "too-large":
        message = f"Response payload size exceeded maximum allowed payload size ({LIMITS.payload_bytes} bytes)."
        return "response-too-large", error_payload("Function.ResponseSizeTooLarge", message)
    kind, error_type, message = _gone(exited, log) if answer.ending == "gone" else _late(answer, function, api)
    return kind, error_payload(error_type, f"RequestId: {request_id} Error: {message}")


def _late(answer: Answer, function: Function, api: str) -> tuple[OutcomeKind, str, str]:
    message = f"Task timed out after {function.timeout_s:.2f} seconds"
    if answer.ending == "never-asked":
        waited_s = LIMITS.init_s + function.timeout_s
        message = (
            f"the image's process did not ask for work at the Runtime API within {waited_s:.0f} seconds. Either it is no "
            f"Lambda runtime, or something, a firewall perhaps, keeps containers from reaching {api}; "
            f"{NETWORK_VARIABLE}=host goes around that."
        )
    return "timeout", "Sandbox.Timedout", message


def _gone(exited: Exit | None, log: str) -> tuple[OutcomeKind, str, str]:
    if exited is None:
        return "exited", "Runtime.ExitError", "the container was removed"
    if exited.out_of_memory:
        return "out-of-memory", "Runtime.OutOfMemory", "Runtime exited with error: signal: killed"
    if "exec format error" in exited.error + log[-500:]:
        message = "the image's program is not for this machine's processor: exec format error"
        return "broken-image", "Runtime.InvalidEntrypoint", message
    if exited.code:
        signal = _SIGNALS.get(exited.code)
        why = f"signal: {signal}" if signal else f"exit status {exited.code}"
        return "exited", "Runtime.ExitError", f"Runtime exited with error: {why}"
    return "exited", "Runtime.ExitError", "Runtime exited without providing a reason"

from __future__ import annotations

import json

import pytest

from stages.runtime.ending import Exit, judge
from stages.runtime.exchange import Answer
from stages.runtime.model import Function

FUNCTION = Function("hello", "image", "111122223333", "eu-west-1", timeout_s=2)


def ended(answer: Answer, exited: Exit | None = None, log: str = "") -> tuple[str, bytes]:
    return judge(answer, exited, function=FUNCTION, request_id="r1", api="172.19.0.1:4000", log=log)


@pytest.mark.parametrize(
    ("ending", "kind"), [("response", "succeeded"), ("error", "handler-error"), ("init-error", "init-error")]
)
def test_what_the_runtime_said_is_the_payload_as_it_is(ending: str, kind: str) -> None:
    assert ended(Answer(ending, b"\xff not JSON")) == (kind, b"\xff not JSON")  # type: ignore[arg-type]  # a table


ENDINGS = [
    (Answer("timed-out"), None, "", "timeout", "Sandbox.Timedout", "Task timed out after 2.00 seconds"),
    (Answer("never-asked"), None, "", "timeout", "Sandbox.Timedout", "TOWPATH_FUNCTION_NETWORK=host"),
    (Answer("gone"), Exit(137, out_of_memory=True), "", "out-of-memory", "Runtime.OutOfMemory", "signal: killed"),
    (Answer("gone"), Exit(7, out_of_memory=False), "", "exited", "Runtime.ExitError", "exit status 7"),
    (
        Answer("gone"),
        Exit(139, out_of_memory=False),
        "",
        "exited",
        "Runtime.ExitError",
        "Runtime exited with error: signal: segmentation fault",
    ),
    (Answer("gone"), Exit(0, out_of_memory=False), "", "exited", "Runtime.ExitError", "without providing a reason"),
    (Answer("gone"), None, "", "exited", "Runtime.ExitError", "the container was removed"),
    (
        Answer("gone"),
        Exit(1, out_of_memory=False),
        "exec user process caused: exec format error",
        "broken-image",
        "Runtime.InvalidEntrypoint",
        "not for this machine's processor",
    ),
    (Answer("too-large"), None, "", "response-too-large", "Function.ResponseSizeTooLarge", "6291556 bytes"),
]


@pytest.mark.parametrize("case", ENDINGS)
def test_endings_are_told_apart_in_lambdas_words(case: tuple[Answer, Exit | None, str, str, str, str]) -> None:
    answer, exited, log, kind, error_type, message = case
    got, payload = ended(answer, exited, log)
    error = json.loads(payload)
    assert (got, error["errorType"]) == (kind, error_type)
    assert message in error["errorMessage"]

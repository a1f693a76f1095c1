"""What a program that asks AWS prints is an answer after lines of log; tests of the programs are with the stages."""

from __future__ import annotations

import json
import subprocess

import pytest

from pipeline import questions
from pipeline.errors import StageFailed
from stages.contract import Access, Target

TARGET = Target("production", "333333333333", "eu-central-1", stack="demo", embedded=True)


def _printed(monkeypatch: pytest.MonkeyPatch, out: str, err: str = "", code: int = 0) -> None:
    done = subprocess.CompletedProcess([], code, out, err)
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_more: done)


def test_log_lines_before_the_answer_are_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS throttles now and then, and what is tried again is told in the log."""
    again = {"message": "Throttling while describing the stack; trying again", "level": "warning"}
    denied = {"message": "not allowed while looking; going on without", "level": "warning", "skipped": True}
    lines = [json.dumps(each) for each in (again, denied, {"stack": None})]
    _printed(monkeypatch, "\n".join(lines))
    answer, skipped = questions.ask("running", TARGET, Access(), None, 1.0)
    assert answer == {"stack": None}
    assert skipped == [denied["message"]]


@pytest.mark.parametrize(
    ("out", "err", "code", "said"),
    [
        ("", '{"message": "no credentials", "hint": "Sign in."}\n', 1, "production: no credentials"),
        ("", "Traceback: of ours\n", 1, "production: Traceback: of ours"),
        ("", "", -9, "production: -9"),
        ("not JSON", "", 0, "production: 0"),
        ("", "", 0, "production: 0"),
    ],
)
def test_what_is_no_answer_is_an_error(
    monkeypatch: pytest.MonkeyPatch, out: str, err: str, code: int, said: str
) -> None:
    _printed(monkeypatch, out, err, code)
    with pytest.raises(StageFailed) as caught:
        questions.ask("running", TARGET, Access(), None, 1.0)
    assert caught.value.message.strip() == said


def test_who_does_not_answer_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_args: object, **_more: object) -> None:
        raise subprocess.TimeoutExpired("program", 1.0)

    monkeypatch.setattr(subprocess, "run", late)
    with pytest.raises(StageFailed, match="AWS was asked about production, and had not answered after 1 s"):
        questions.ask("running", TARGET, Access(), None, 1.0)

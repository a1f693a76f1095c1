"""Every error Towpath expects, each with its exit code.

    TowpathError
    ├── StageFailed          1    a stage failed
    ├── UsageError           2    the command was called wrongly
    │   └── InvalidDefinition     the definition, template or other files are wrong: every problem at once
    ├── Fault                3    a mistake of ours
    ├── VerificationFailed   4    something does not match its digest, signature or chain
    ├── Rejected             5    somebody who may approve did not
    ├── Blocked              6    the target is held or has a newer deployment, or the run is driven by someone else
    ├── Incomplete           7    what is there holds, but evidence or trust is missing
    ├── Waiting             75    people have to approve
    ├── TimedOut           124    a stage took longer than it may
    └── Interrupted   130, 143    Ctrl-C, or asked to end

A message says what happened and where; the hint says what to do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.contract import Problem

EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "a stage failed, or the store",
    2: "wrong usage, or the definition or template is invalid",
    3: "a fault of Towpath's own; a report file is named",
    4: "verification failed: something does not match its digest, signature or chain",
    5: "rejected",
    6: "blocked: the target is held by someone else, or has a newer deployment, or the run is being driven elsewhere",
    7: "incomplete: what is there holds, but evidence or trust is missing",
    75: "waiting for approval",
    124: "timed out",
    130: "interrupted",
    143: "terminated",
}


class TowpathError(Exception):
    """The base of all errors that are expected to happen. `code` is the exit code of the command.

    `also` are those that happened besides: of several stages that failed the first one's code is the command's.
    """

    code = 3

    def __init__(self, message: str, *, hint: str | None = None, where: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where
        self.also: tuple[TowpathError, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give the one object that `--json` prints on standard error."""
        told = {"code": self.code, "message": self.message, "where": self.where, "hint": self.hint}
        return {**told, "also": [each.as_json() for each in self.also]} if self.also else told


class StageFailed(TowpathError):
    """A stage of the run failed, or nobody knows how an attempt of it ended."""

    code = 1


class UsageError(TowpathError):
    """The command was called wrongly, or names something that does not exist."""

    code = 2


class InvalidDefinition(UsageError):
    """What the user wrote is wrong: every problem found, all at once."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        first = problems[0]
        super().__init__("\n".join(map(str, problems)), hint=None, where=first.where or None)

    def as_json(self) -> dict[str, Any]:
        """Give every problem beside the first one's place and hint."""
        listed = [{"message": each.message, "where": each.where or None, "hint": each.hint} for each in self.problems]
        return {"code": self.code, **listed[0], "problems": listed}


class Fault(TowpathError):
    """Towpath itself did something wrong."""

    code = 3


class VerificationFailed(TowpathError):
    """What was read is not what its digest, its chain or its approval says."""

    code = 4


class Rejected(TowpathError):
    """Somebody who may approve did not."""

    code = 5


class Waiting(TowpathError):
    """People have to approve before this goes on."""

    code = 75


class Blocked(TowpathError):
    """Someone else holds what this command needs, or has been there with something newer."""

    code = 6


class Incomplete(TowpathError):
    """What is there holds, but that is not enough: evidence is missing, or nobody says which keys count."""

    code = 7


class TimedOut(TowpathError):
    """A stage took longer than it may."""

    code = 124


class Interrupted(TowpathError):
    """The user or the system asked us to end."""

    code = 130

    def __init__(self, message: str, *, code: int = 130, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class Done(SystemExit):
    """The end of a command, no error, for which every millisecond counts and which has left nothing to be tidied up."""

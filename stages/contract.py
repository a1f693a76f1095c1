"""What the runner asks of a stage, and what a stage answers. Format version 1 (docs/adr/0003).

A stage is a process with a work directory of its own:

    request.json       what to do: one `Request`
    inputs/<name>/     what earlier stages handed over, read-only
    source/            the project, read-only, only for kinds that need it
    outputs/<name>/    what the stage hands on; the runner collects it after the process has ended
    result.json        what came of it: one `Result`

Both output streams are the stage's log. A line that is a JSON object with a "message" is structured data, any other
line is text; neither is ever an instruction to the runner. The exit code is 0 or not, and says no more than that.

This module uses the standard library only, so that a stage starts fast.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1

Phase = Literal["check", "propose", "apply"]
"""`check` looks for mistakes and touches nothing outside; `propose` prepares and says what would be done; `apply` does it."""

ErrorClass = Literal["terminal", "invalid", "retryable", "mismatch", "moved", "blocked", "fault"]
"""`retryable`: the same again may work; where a proposal was being applied, what it began outside may still go on, and the next attempt
goes on with the same proposal. `mismatch`: something is not what its digest or approval says (exit code 4).
`moved`: the target is no longer as the proposal found it (exit code 4; 6 where the ledger shows whose deployment moved it).
`invalid`: what the user wrote is wrong (exit code 2). `blocked`: someone else holds the target (exit code 6). `fault`: a mistake of ours (exit code 3). `terminal`: all else."""

Carrier = Literal["engine", "oci-layout", "registry"]
"""Where an image's bytes are: in this machine's engine, in the record as an OCI layout, or in a registry by digest."""

Json = dict[str, Any]
"""A JSON object. Its values are whatever JSON can hold, so they are Any until a reader checks them."""


class ContractError(Exception):
    """A request, result or hand-over file is not of the contract's form."""


@dataclass(frozen=True)
class Problem:
    """One mistake in what the user wrote: what, where, and what to do about it. Lines and columns count from 1."""

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    quote: str | None = None
    hint: str | None = None

    @property
    def where(self) -> str:
        """`file:line:column`, as far as it is known; empty if nothing is."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        if self.quote:
            text += f"\n    {self.quote.strip()}"
        return f"{text}\n    {self.hint}" if self.hint else text


class StageError(Exception):
    """What a stage did cannot be finished. Kinds raise it; `stages.__main__` writes it into the result."""

    def __init__(
        self, message: str, *, hint: str | None = None, where: str | None = None, cls: ErrorClass = "terminal"
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where
        self.cls: ErrorClass = cls


class InvalidInput(StageError):
    """The user's template, options or files are wrong: every problem found, all at once."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)), cls="invalid")
        self.problems = problems


OnFailure = Literal["rollback", "do-nothing", "delete"]
"""What becomes of a stack when an operation on it fails. `delete` is for a stack that is being made; an update rolls back then."""


Capability = Literal["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]

REGION = r"^[a-z]{2,}(-[a-z0-9]+)+-[0-9]+$"
"""What a region's name looks like; below, the ARNs of a role and of a topic."""
ROLE_ARN = r"^arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,576}$"
TOPIC_ARN = r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}$"


COMMAND = "command"
"""What the environment of a command is called that names none of a pipeline."""


@dataclass(frozen=True)
class Target:
    """What a stage acts on: an environment of the definition. It is identity, and part of what people approve.

    `service_role` is whom CloudFormation acts as, `notification_arns` are the topics that it tells of what it does. Without
    `retain_except_on_create`, what is new and has `DeletionPolicy: Retain` is left behind when an operation rolls back.
    """

    environment: str
    account: str
    region: str
    partition: str = "aws"
    embedded: bool = False
    stack: str | None = None
    repository: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    capabilities: list[str] = field(default_factory=list)
    bucket: str | None = None
    service_role: str | None = None
    notification_arns: list[str] = field(default_factory=list)
    on_failure: OnFailure = "rollback"
    retain_except_on_create: bool = False

    @property
    def called(self) -> str:
        """What people call it: its environment, or its stack where a command without a pipeline acts on it."""
        return self.stack if self.stack and self.environment == COMMAND else self.environment

    def as_json(self) -> Json:
        """The target's JSON form. A key of `_LATER` that is as it always was is left out, so that what was recorded before there
        was such a key keeps its digest."""
        form = dataclasses.asdict(self)
        return {name: value for name, value in form.items() if name not in _LATER or value != _LATER[name]}


_LATER: Json = {
    "service_role": None,
    "notification_arns": [],
    "on_failure": "rollback",
    "retain_except_on_create": False,
}
"""Keys that a target got after the first release, with their values where nobody says anything."""


@dataclass(frozen=True)
class Access:
    """How to reach the target from here and now. It is never part of what people approve.

    `endpoint_url` is set for an embedded AWS only: the loopback address that answers for every service.
    `profile` names a profile of the AWS configuration; without one the ambient credentials are used. `role` is the role whose
    credentials the stage finds there, if it is lent those of one.
    """

    endpoint_url: str | None = None
    profile: str | None = None
    role: str | None = None


@dataclass(frozen=True)
class Proposal:
    """What a stage is about to do.

    `subject` is what people approve: two proposals with equal subjects are the same thing. `handle` says how to do just
    that (ARNs, names, times) and may be had anew. `view` is text for people.
    """

    subject: Json
    handle: Json
    view: str


@dataclass(frozen=True)
class Earlier:
    """An attempt of this stage, in this run, of which nobody knows how it ended: its writer died."""

    handle: str
    phase: Phase
    proposal: Proposal | None = None


@dataclass(frozen=True)
class Request:
    """One phase of one attempt.

    `handle` is unique to the attempt and a valid DNS label (at most 63 of a-z, 0-9, -): a stage uses it as token and in
    names of what it makes, so that it can be found again. `inputs` maps an input's name to its directory below the work
    directory. `source` is the project's directory as the stage sees it.

    `previous` maps an artifact to the directory with files of it that an earlier run's stage of the same kind handed on, as far as
    the record proves them. `cache` is a directory of this project and kind that outlives the run; what is in it may be lost or
    wrong. Both only save work: with neither, a stage does the same and takes longer.

    `evidence` maps names to directories of what the record has for people to compare with: it is shown, and decides nothing. Any of
    it may be missing.

    `commit` is the one that the run was opened at, None if its files were not just those of a commit.

    `fresh` says that `proposal` is what this very attempt has just proposed: it was handed over by the runner, and did not come out of
    the record.

    `secrets` names those that the stage is handed. No value is ever in a request: it is in the variable `secret_variable` names,
    or, for a program of the user's, in one of the secret's own name.
    """

    kind: str
    phase: Phase
    handle: str
    options: Json = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    source: str | None = None
    target: Target | None = None
    access: Access | None = None
    proposal: Proposal | None = None
    earlier: list[Earlier] = field(default_factory=list)
    previous: dict[str, str] = field(default_factory=dict)
    cache: str | None = None
    commit: str | None = None
    secrets: list[str] = field(default_factory=list)
    evidence: dict[str, str] = field(default_factory=dict)
    fresh: bool = False


def secret_variable(name: str) -> str:
    """Give the variable in which a kind of ours finds a secret."""
    return f"TOWPATH_SECRET_{name}"


@dataclass(frozen=True)
class Failure:
    """Why a phase failed, in words for people and one word for machines."""

    cls: ErrorClass
    message: str
    where: str | None = None
    hint: str | None = None


@dataclass(frozen=True)
class Result:
    """What came of a phase.

    `outputs` names the folders below `outputs/` to collect. `facts` is what the record and the report should say (small
    JSON: digests, stack outputs, endpoints). `statements` are unsigned in-toto statements; the runner signs on collection.
    """

    outcome: Literal["succeeded", "failed"]
    outputs: list[str] = field(default_factory=list)
    facts: Json = field(default_factory=dict)
    statements: list[Json] = field(default_factory=list)
    proposal: Proposal | None = None
    problems: list[Problem] = field(default_factory=list)
    failure: Failure | None = None


def write(path: Path, value: Request | Result) -> None:
    """Write a request or a result as JSON."""
    document = {"v": VERSION, **dataclasses.asdict(value)}
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_request(path: Path) -> Request:
    """Read a request. Raises ContractError."""
    data = _read(path)
    with _form(path):
        return Request(
            kind=data["kind"],
            phase=data["phase"],
            handle=data["handle"],
            options=data["options"],
            inputs=data["inputs"],
            source=data["source"],
            target=Target(**data["target"]) if data["target"] else None,
            access=Access(**data["access"]) if data["access"] else None,
            proposal=Proposal(**data["proposal"]) if data["proposal"] else None,
            earlier=[
                Earlier(each["handle"], each["phase"], Proposal(**each["proposal"]) if each["proposal"] else None)
                for each in data["earlier"]
            ],
            previous=data.get("previous", {}),
            cache=data.get("cache"),
            commit=data.get("commit"),
            secrets=data.get("secrets", []),
            evidence=data.get("evidence", {}),
            fresh=data.get("fresh", False),
        )


def read_result(path: Path) -> Result:
    """Read a result. Raises ContractError: a stage's process is not trusted to keep to the form."""
    data = _read(path)
    with _form(path):
        outcome = data["outcome"]
        if outcome not in ("succeeded", "failed"):
            raise ValueError(f"outcome {outcome!r} is neither 'succeeded' nor 'failed'")
        return Result(
            outcome=outcome,
            outputs=[str(name) for name in data.get("outputs", [])],
            facts=dict(data.get("facts", {})),
            statements=[dict(each) for each in data.get("statements", [])],
            proposal=Proposal(**data["proposal"]) if data.get("proposal") else None,
            problems=[Problem(**each) for each in data.get("problems", [])],
            failure=Failure(**data["failure"]) if data.get("failure") else None,
        )


def _read(path: Path) -> Json:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ContractError(f"{path.name} is missing") from error
    except ValueError as error:
        raise ContractError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("v") != VERSION:
        raise ContractError(f"{path.name} is not of format version {VERSION}")
    return data


class _form:  # noqa: N801 - used as a statement
    """Turn the errors of building a value from loose JSON into a ContractError that names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, (KeyError, TypeError, ValueError, AttributeError)):
            raise ContractError(f"{self.path.name} is not of the contract's form: {error!r}") from error

"""What a new project is to be, decided and checked before anything is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.init.runtimes import RUNTIMES, Runtime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ARCHITECTURES = ("x86_64", "arm64")
CI_SYSTEMS = ("github", "gitlab", "none")
ARTIFACTS = "artifacts"
"""The environment that holds the images."""

_LABEL = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LABEL_WORDS = "lower-case letters and digits, beginning with a letter, with single hyphens between them"
TAKEN = {ARTIFACTS, "build", "scan", "package", "propose", "apply"}
"""Names of environments that would clash with others in the pipeline or with jobs in CI."""
WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
"""What YAML takes for something else than a name."""
_MOST_ENVIRONMENTS = 8
_LONGEST_NAME = 30
_LONGEST_ENVIRONMENT = 13  # a stage's name, deploy-<environment>, has at most 20
_ACCOUNT = re.compile(r"[0-9]{12}")
_REGION = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+-[0-9]+")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}


@dataclass(frozen=True)
class Function:
    """A function: what its folder is called, and what it and its address are in the template."""

    name: str

    @property
    def camel(self) -> str:
        return "".join(part.capitalize() for part in self.name.split("-"))

    @property
    def id(self) -> str:
        return f"{self.camel}Function"

    @property
    def output(self) -> str:
        return f"{self.camel}Url"


@dataclass(frozen=True)
class Place:
    """An environment: an account and a region."""

    name: str
    account: str
    region: str


@dataclass(frozen=True)
class Person:
    """Whoever makes the project, as git and the machine know them."""

    name: str
    email: str
    login: str


@dataclass(frozen=True)
class Choices:
    """A new project, all of it decided."""

    name: str
    runtime: Runtime
    functions: tuple[Function, ...]
    api: bool
    architecture: str
    ci: str
    artifacts: Place
    environments: tuple[Place, ...]
    base_image: str
    person: Person | None = None


def name(text: str) -> str:
    """Give a project's name. Raises UsageError."""
    if len(text) == 1:
        raise UsageError(f"--name {text!r} is too short", hint="ECR wants two characters at least.")
    return _label(text, "--name", "a project's name", _LONGEST_NAME)


def function(text: str, what: str = "--function") -> Function:
    """Give the function of that name. Raises UsageError."""
    return Function(_label(text, what, "a function's name", _LONGEST_NAME))


def functions(names: Sequence[str]) -> tuple[Function, ...]:
    """Give the functions of these names. Raises UsageError."""
    found = tuple(map(function, names))
    for each in found:
        if [one.camel for one in found].count(each.camel) > 1:
            raise UsageError(f"--function {each.name}: another function has the same name in the template, {each.id}")
    return found


def environments(names: Sequence[str]) -> tuple[str, ...]:
    """Give the environments' names, in the order in which they are deployed to. Raises UsageError."""
    if not names or len(names) > _MOST_ENVIRONMENTS:
        raise UsageError(f"--environment: name between 1 and {_MOST_ENVIRONMENTS} environments, not {len(names)}")
    for each in names:
        _label(each, "--environment", "an environment's name", _LONGEST_ENVIRONMENT)
        if each in TAKEN:
            raise UsageError(f"--environment {each}: that name is taken", hint=f"Not {', '.join(sorted(TAKEN))}.")
        if list(names).count(each) > 1:
            raise UsageError(f"--environment {each} is given twice", hint="Leave out one of them.")
    return tuple(names)


def places(names: Sequence[str], accounts: Sequence[str], region: str) -> tuple[Place, ...]:
    """Give the place that holds the images, then the environments, each with its account. Raises UsageError.

    `accounts` are `NAME=ACCOUNT`, or `ACCOUNT` for all. Whoever has none gets one that the embedded AWS takes.
    """
    if not _REGION.fullmatch(region):
        raise UsageError(f"--region {region!r} is no region", hint="Write it as: eu-central-1")
    given = _accounts(accounts, (ARTIFACTS, *names))
    return tuple(
        Place(each, given.get(each) or given.get("") or str(index + 1) * 12, region)
        for index, each in enumerate((ARTIFACTS, *names))
    )


def person(name: str, email: str, login: str) -> Person | None:
    """Give a person of the name that git knows, or of the mail address; None if the names have characters that are no name's."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", (name or email.partition("@")[0]).lower())[:40].strip("._-")
    fine = slug and all(each and not re.search(r"\s", each) and each.isprintable() for each in (email, login))
    return Person(slug, email, login) if fine else None


def image(text: str) -> str:
    """Give a base image's name. Raises UsageError."""
    if not _IMAGE.fullmatch(text):
        raise UsageError(f"--base-image {text!r} is no image's name", hint="Write it as: public.ecr.aws/NAME:TAG")
    return text


def partition(region: str) -> str:
    """Give the partition that a region's name tells."""
    return next((each for prefix, each in _PARTITIONS.items() if region.startswith(prefix)), "aws")


def runtime(text: str) -> Runtime:
    """Give a runtime by its name. Raises UsageError."""
    if text not in RUNTIMES:
        raise UsageError(f"there is no runtime {text!r}", hint=f"There are: {', '.join(RUNTIMES)}.")
    return RUNTIMES[text]


def _accounts(given: Sequence[str], names: Sequence[str]) -> Mapping[str, str]:
    """Give the accounts by environment; the one for all by the empty name."""
    found: dict[str, str] = {}
    for each in given:
        name, equals, account = each.rpartition("=")
        if equals and name not in names:
            hint = f"There are: {', '.join(names)}. Or one for all: --account {account}"
            raise UsageError(f"--account {each}: there is no environment {name!r}", hint=hint)
        if not _ACCOUNT.fullmatch(account):
            raise UsageError(f"--account {each}: {account!r} is not the twelve digits of an account")
        found[name] = account
    return found


def _label(text: str, option: str, what: str, longest: int) -> str:
    if not _LABEL.fullmatch(text):
        raise UsageError(f"{option} {text!r} is not {what}", hint=f"Use {_LABEL_WORDS}.")
    if text in WORDS:
        raise UsageError(f"{option} {text!r} is a word that YAML takes for something else", hint="Choose another one.")
    if len(text) > longest:
        raise UsageError(f"{option} {text!r} is longer than {longest} characters", hint="Choose a shorter one.")
    return text

"""Which repository each image goes to: by name in the environment's registry, or by its full name anywhere. Pure."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.aws import ecr
from stages.contract import InvalidInput, Problem
from stages.template.references import ecr_host

if TYPE_CHECKING:
    from collections.abc import Collection

    from stages.contract import Json, Target

_NAME = re.compile(r"(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*")
"""ECR's own grammar of a repository's name, https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html"""
_HOST = re.compile(r"localhost|\[[0-9a-fA-F:]+\]:\d+|[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*(:\d+)?")
_NAME_RULE = (
    "It is a name, 2 to 256 of a-z 0-9 . _ - /, such as `shop/frontend`, or a full name with its registry's host before it, "
    "such as `123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop/frontend`, without tag or digest."
)


@dataclass(frozen=True)
class Place:
    """A repository. `ours`: it was chosen for this application alone, not named by somebody."""

    host: str
    name: str
    ours: bool = False

    @property
    def uri(self) -> str:
        """As image names have it."""
        return f"{self.host}/{self.name}"

    @property
    def ecr(self) -> tuple[str, str] | None:
        """Account and region of a registry of Amazon ECR, None for any other."""
        found = ecr_host(self.host)
        return (found.account, found.region) if found else None


def choose(
    functions: list[str], options: Json, target: Target | None, pinned: Collection[str] = ()
) -> dict[str, Place]:
    """The place of each function's image. In this order: `repositories`, one of its own if there is an `application`,
    `repository` of the options, that of the environment. Those `pinned` need none, and may be named all the same.

    Raises InvalidInput: a function that there is not, no repository, no repository's name.
    """
    mapping: dict[str, str] = options.get("repositories") or {}
    known = sorted({*functions, *pinned})
    problems = [_unknown(name, known) for name in mapping if name not in known]
    chosen: dict[str, Place] = {}
    for function in functions:
        named = mapping.get(function)
        place = _own(options["application"], function) if not named and options.get("application") else None
        try:
            chosen[function] = _place(
                place or named or options.get("repository") or (target.repository if target else None), target, place
            )
        except ValueError as error:
            message, hint = error.args
            problems.append(Problem(f"{message} (for {function})", hint=hint))
    if problems:
        raise InvalidInput(list(dict.fromkeys(problems)))
    return chosen


def _unknown(name: str, functions: list[str]) -> Problem:
    close = difflib.get_close_matches(name, functions, n=1, cutoff=0.6)
    known = f"It has: {', '.join(functions)}." if functions else "It has none."
    return Problem(
        f"`repositories` names {name!r}, and the template has no such image function",
        hint=f"Did you mean {close[0]}? {known}" if close else known,
    )


def _own(application: str, function: str) -> str:
    """The name of a function's own repository: the application's, and the function's path, which is unique in it."""
    parts = [re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in function.split("/")]
    return "/".join([application, *parts])


def _place(named: str | None, target: Target | None, own: str | None) -> Place:
    if not named:
        where = f"the environment {target.environment}" if target else "the stage"
        raise ValueError(
            "there is no repository",
            f"Give {where} a `repository`, name it in `repositories`, or say `application: NAME` to have one made for "
            "each function.",
        )
    first, _, rest = named.partition("/")
    has_host = bool(rest) and (first == "localhost" or ":" in first or "." in first)
    host, name = (first, rest) if has_host else ("", named)
    if not (_NAME.fullmatch(name) and 2 <= len(name) <= 256 and (not has_host or _HOST.fullmatch(host))):
        raise ValueError(f"{named!r} is no repository", _NAME_RULE)
    if not has_host and target is None:
        raise ValueError(
            f"{named!r} names no registry, and there is no environment to take one from",
            "Give the stage an `environment`, or write the repository's full name with its registry's host.",
        )
    if target is not None and not has_host:
        host = ecr.host(target)
    return Place(host, name, ours=own is not None)

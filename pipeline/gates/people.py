"""From what a definition says of people, groups and keys to the `Rules` of an environment. Pure.

The keys stand in a file of OpenSSH's allowed_signers format (ssh-keygen(1)), which `ssh-keygen -Y verify` reads too:

    alice namespaces="towpath-approval" ssh-ed25519 AAAA…  alice's laptop

one person a line, because a signature must tell who it was; a person may have several lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.gates import sshkeys
from pipeline.gates.rules import Rules
from pipeline.gates.statements import GLASS_NAMESPACE, NAMESPACE
from pipeline.signing import signers as allowed_signers
from stages.contract import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from pipeline.gates.rules import Scan, Validity


@dataclass(frozen=True)
class Enrolled:
    """A key, whose it is, in which line that is said, and what it is for."""

    person: str
    key: str
    validity: Validity
    line: int
    namespaces: frozenset[str] = frozenset({NAMESPACE})


def enrolled(text: str, file: str) -> tuple[list[Enrolled], list[Problem]]:
    """Read an allowed_signers file. Gives the keys, and what is wrong with the lines that are refused."""
    lines, problems = allowed_signers.read(text, file)
    found: dict[str, Enrolled] = {}
    for line in lines:
        try:
            one = _enrolled(line)
            _refuse_second(one, found)
            found[one.key] = one
        except _Refused as refused:
            quote = allowed_signers.lines(text)[line.line - 1]
            problems.append(Problem(str(refused), file, line.line, quote=quote, hint=refused.hint))
    return list(found.values()), problems


def lines(text: str) -> list[str]:
    """Give the lines of such a file."""
    return allowed_signers.lines(text)


class _Refused(Exception):
    """A line is refused; the hint says what to write instead."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def _enrolled(line: allowed_signers.Signer) -> Enrolled:
    if len(line.principals) != 1:
        raise _Refused(
            f"one key of several people: {', '.join(line.principals)}", "Each key is one person's, named once."
        )
    if not {NAMESPACE, GLASS_NAMESPACE} & set(line.namespaces):
        hint = f'Put namespaces="{NAMESPACE}" before the key.'
        raise _Refused("the line does not say that the key is for approvals", hint)
    try:
        key = sshkeys.line_of(line.blob)
    except sshkeys.Malformed as error:
        raise _Refused(f"the key is not taken: {error}", "Make another: ssh-keygen -t ed25519") from error
    validity = (_written(line.valid_after), _written(line.valid_before))
    return Enrolled(line.principals[0], key, validity, line.line, frozenset(line.namespaces))


def _refuse_second(one: Enrolled, found: Mapping[str, Enrolled]) -> None:
    first = found.get(one.key)
    if first:
        raise _Refused(
            f"the key stands in line {first.line} already, for {first.person!r}",
            "Remove one: each key is one person's, once.",
        )


def _written(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def members(names: Iterable[str], groups: Mapping[str, Iterable[str]]) -> list[str]:
    """Give the people that names of people and groups stand for, each once. Groups hold people, not groups."""
    people = [person for name in names for person in groups.get(name, (name,))]
    return list(dict.fromkeys(people))


def identities(people: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Give for each mail address and login, in lower case, whose it is. `people` has those of each person."""
    return {identity(each): person for person, known in people.items() for each in known}


def identity(text: str) -> str:
    """Give the one way in which a mail address or login is known."""
    return text.strip().lower()


def of(people: Iterable[str], keys: Iterable[Enrolled], namespace: str) -> dict[str, tuple[str, ...]]:
    """Give the keys of each of these people that are for a purpose."""
    meant = [each for each in keys if namespace in each.namespaces]
    return {person: tuple(sorted(each.key for each in meant if each.person == person)) for person in sorted(people)}


def limits(held: Iterable[Iterable[str]], keys: Iterable[Enrolled]) -> dict[str, Validity]:
    """Give the times of those keys that do not count for ever."""
    theirs = {key for each in held for key in each}
    return {each.key: each.validity for each in keys if each.key in theirs and each.validity != (None, None)}


def resolve(
    *,
    count: int,
    approvers: Iterable[str],
    expires_s: int,
    scan: Scan,
    known_as: Mapping[str, str],
    keys: Iterable[Enrolled],
) -> Rules:
    """Give the rules of an environment in which `count` of the approvers (people, groups resolved) must approve.

    What is wrong with them, `pipeline.gates.rules.problems` says. With a count of 0 there is nothing to say of people.
    """
    if count == 0:
        return Rules(people=0, approvers={}, identities={}, expires_s=0, scan=scan)
    known = list(keys)
    theirs = of(approvers, known, NAMESPACE)
    return Rules(
        people=count,
        approvers=theirs,
        identities=dict(sorted(known_as.items())),
        expires_s=expires_s,
        scan=scan,
        validity=limits(theirs.values(), known),
    )

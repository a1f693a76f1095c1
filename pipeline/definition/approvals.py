"""Who must approve what is done to an environment: from people, groups and keys to the rules of its gate.

An environment with a stack must say it, be it that nobody need: a gate that was forgotten looks just like one that was not
wanted, until somebody deploys through it.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline import beneath
from pipeline.definition.hints import MOST_PROBLEMS, did_you_mean, dotted
from pipeline.gates import freezes
from pipeline.gates import people as gate_people
from pipeline.gates import rules as gate_rules
from pipeline.gates.statements import GLASS_NAMESPACE, NAMESPACE
from stages.contract import Problem
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path as FilePath

    from pipeline.definition.draft import Draft
    from pipeline.definition.model import Environment
    from pipeline.definition.positions import Path, Positions
    from pipeline.gates.people import Enrolled
    from pipeline.gates.rules import Rules


@dataclass(frozen=True)
class Gated:
    """The rules of each environment, the file of keys that was read, and what is wrong."""

    rules: Mapping[str, Rules] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read(draft: Draft, positions: Positions, project: FilePath) -> Gated:
    """Read the file of keys, and give the rules of every environment; none if anything is wrong."""
    files, keys, problems = _keys(draft, positions, project)
    readable = not problems
    checks = (
        _people(draft, positions),
        _groups(draft, positions),
        _environments(draft, keys, positions, complete=readable),
        _freezes(draft, positions),
        _glass(draft, keys, positions, complete=readable),
    )
    problems += itertools.islice(itertools.chain(*checks), MOST_PROBLEMS)
    if problems or draft.broken:
        return Gated({}, files, problems)
    rules = {name: _rules(each, draft, keys) for name, each in draft.environments.items()}
    return Gated(rules, files)


# Keys


def _keys(
    draft: Draft, positions: Positions, project: FilePath
) -> tuple[dict[str, bytes], list[Enrolled], list[Problem]]:
    if draft.signers is None:
        return {}, [], []
    try:
        contents = beneath.read(project, beneath.plain_name(draft.signers), LIMITS.yaml_bytes)
        text = contents.data.decode("utf-8")
    except beneath.Refused as refused:
        return {}, [], [Problem(refused.message, *positions.value("signers"), refused.hint)]
    except UnicodeDecodeError:
        return {}, [], [Problem(f"{draft.signers!r} is not UTF-8", *positions.value("signers"))]
    keys, problems = gate_people.enrolled(text, contents.name)
    lines = gate_people.lines(text)
    for key in keys:
        if key.person not in draft.names["people"]:
            hint = did_you_mean(key.person, draft.names["people"], what="people")
            message = f"there is no person {key.person!r}"
            problems.append(Problem(message, contents.name, key.line, quote=lines[key.line - 1], hint=hint))
    return {contents.name: contents.data}, keys, problems[:MOST_PROBLEMS]


# People and groups


def _people(draft: Draft, positions: Positions) -> Iterator[Problem]:
    """Who is two people at once is excluded as one and approves as the other."""
    seen: dict[str, str] = {}
    for name, person in draft.people.items():
        for kind, known in (("emails", person.emails), ("logins", person.logins)):
            for index, each in enumerate(known):
                first = seen.setdefault(gate_people.identity(each), name)
                if first != name:
                    place = positions.value("people", name, kind, index)
                    yield Problem(f"{each!r} is both {first!r} and {name!r}", *place, "Each is one person's.")


def _groups(draft: Draft, positions: Positions) -> Iterator[Problem]:
    people, groups = draft.names["people"], draft.names["groups"]
    for name in sorted(people & groups):
        place = positions.key("groups", name)
        yield Problem(f"{name!r} is both a person and a group", *place, "Rename one of them.")
    for name, members in draft.groups.items():
        for index, member in enumerate(members):
            if member in groups - people:
                place = positions.value("groups", name, index)
                yield Problem(f"{member!r} is a group, and groups hold people", *place, "Name its people.")
            elif member not in people:
                yield _unknown(("groups", name, index), member, people, "person", positions)


def _unknown(path: Path, name: str, known: Iterable[str], what: str, positions: Positions) -> Problem:
    plural = "people" if what == "person" else "people and groups"
    return Problem(f"there is no {what} {name!r}", *positions.value(*path), did_you_mean(name, known, what=plural))


# Environments


def _environments(draft: Draft, keys: list[Enrolled], positions: Positions, *, complete: bool) -> Iterator[Problem]:
    for name, environment in draft.environments.items():
        approvals = environment.approvals
        if ("environments", name) in draft.broken:
            continue
        if approvals is None and environment.stack is not None:
            hint = "Write: approvals: none, if nobody need, or: approvals: {people: 1, from: [NAME]}"
            message = f"environment {name!r} does not say who must approve what is deployed to it"
            yield Problem(message, *positions.key("environments", name), hint)
        elif approvals is not None and approvals.people:
            path = ("environments", name, "approvals")
            unknown = list(_unknown_approvers(path, approvals.approvers, draft, positions))
            yield from unknown
            if not unknown and complete and not {section for section, _ in draft.broken} & {"people", "groups"}:
                yield from _cannot_be_met(path, environment, draft, keys, positions)


def _unknown_approvers(path: Path, names: Iterable[str], draft: Draft, positions: Positions) -> Iterator[Problem]:
    known = draft.names["people"] | draft.names["groups"]
    for index, name in enumerate(names):
        if name not in known:
            yield _unknown((*path, "from", index), name, known, "person or group", positions)


def _cannot_be_met(
    path: Path, environment: Environment, draft: Draft, keys: list[Enrolled], positions: Positions
) -> Iterator[Problem]:
    rules = _approved(environment, draft, keys)
    if not set(rules.approvers) <= draft.names["people"]:
        return  # a group has somebody whom nobody knows, and that is told there
    without = [person for person, theirs in rules.approvers.items() if not theirs]
    for person in without:
        line = f'{person} namespaces="{NAMESPACE}" ssh-ed25519 AAAA...'
        hint = (
            f"Add to {draft.signers}: {line}" if draft.signers else f"Name a file of keys: signers: FILE, with: {line}"
        )
        yield Problem(f"{person!r} may approve, and has no key", *positions.value(*path, "from"), hint)
    if rules.expires_s > gate_rules.LONGEST_S:
        message = f"{dotted((*path, 'expires'))} is too long"
        hint = f"An approval counts for at most {gate_rules.LONGEST_S // 3600}h."
        yield Problem(message, *positions.value(*path, "expires"), hint)
    elif not without:
        for problem in gate_rules.problems(rules):
            yield Problem(problem, *positions.value(*path, "people"), "Name more people, or ask for fewer.")


def _glass(draft: Draft, keys: list[Enrolled], positions: Positions, *, complete: bool) -> Iterator[Problem]:
    for name, environment in draft.environments.items():
        if environment.break_glass is None:
            continue
        path = ("environments", name, "break-glass")
        unknown = list(_unknown_approvers(path, environment.break_glass.people, draft, positions))
        yield from unknown
        if unknown or not complete or {section for section, _ in draft.broken} & {"people", "groups"}:
            continue
        rules = _rules(environment, draft, keys)
        without = [person for person, theirs in rules.glass.items() if not theirs]
        for person in without:
            line = f'{person} namespaces="{NAMESPACE},{GLASS_NAMESPACE}" ssh-ed25519 AAAA...'
            message = f"{person!r} may break the glass, and has no key for it"
            yield Problem(message, *positions.value(*path, "from"), f"Add to the file of `signers`: {line}")
        if not without and len({*rules.glass, *rules.approvers}) == 1:
            message = f"only {next(iter(rules.glass))!r} may break the glass of {name!r}, and nobody could review it"
            yield Problem(message, *positions.value(*path, "from"), "Name two people at least, or others who approve.")


def _freezes(draft: Draft, positions: Positions) -> Iterator[Problem]:
    for name, environment in draft.environments.items():
        seen: set[str] = set()
        for index, each in enumerate(_windows(environment)):
            path = ("environments", name, "freeze", index)
            if wrong := freezes.problem(each):
                hint = "Write from and to both as 2026-12-18 18:00, as fri 16:00 or as 18:00, in a zone such as Europe/Berlin."
                yield Problem(wrong, *positions.value(*path, "from" if "zone" not in wrong else "zone"), hint)
            if each.name in seen:
                yield Problem(f"{each.name!r} is the name of two freezes", *positions.value(*path, "name"))
            seen.add(each.name)


def _windows(environment: Environment) -> tuple[freezes.Freeze, ...]:
    return tuple(freezes.Freeze(each.name, each.begins, each.ends, each.zone) for each in environment.freeze)


def _rules(environment: Environment, draft: Draft, keys: list[Enrolled]) -> Rules:
    approved = _approved(environment, draft, keys)
    named = environment.break_glass.people if environment.break_glass else ()
    glass = gate_people.of(gate_people.members(named, draft.groups), keys, GLASS_NAMESPACE)
    validity = gate_people.limits([*approved.approvers.values(), *glass.values()], keys)
    return dataclasses.replace(approved, freezes=_windows(environment), glass=glass, validity=validity)


def _approved(environment: Environment, draft: Draft, keys: list[Enrolled]) -> Rules:
    approvals = environment.approvals
    if approvals is None:
        return gate_people.resolve(count=0, approvers=(), expires_s=0, scan=environment.scan, known_as={}, keys=())
    return gate_people.resolve(
        count=approvals.people,
        approvers=gate_people.members(approvals.approvers, draft.groups),
        expires_s=approvals.expires_s,
        scan=environment.scan,
        known_as=gate_people.identities({name: (*each.emails, *each.logins) for name, each in draft.people.items()}),
        keys=keys,
    )

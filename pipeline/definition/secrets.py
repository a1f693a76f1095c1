"""Secrets of a definition: whether each says where it is taken from, and whether a stage may have those it names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.definition.hints import did_you_mean
from pipeline.variables import PREFIX, taken
from stages.contract import Problem
from stages.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.definition.draft import Draft
    from pipeline.definition.model import Secret, Stage
    from pipeline.definition.positions import Positions

IN_AWS = ("ssm", "secrets-manager")
"""Places that are read in an environment's account."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLACES = "{variable: NAME}, {file: PATH}, {ssm: NAME, environment: NAME} or {secrets-manager: NAME, environment: NAME}"


def problems(draft: Draft, positions: Positions) -> Iterator[Problem]:
    """What is wrong with the secrets, and with what stages say of them."""
    for name, secret in draft.secrets.items():
        if ("secrets", name) not in draft.broken:
            yield from _secret(name, secret, draft, positions)
    for name, stage in draft.stages.items():
        if stage.uses in KINDS:
            yield from _stage(name, stage, draft, positions)


def _secret(name: str, secret: Secret, draft: Draft, positions: Positions) -> Iterator[Problem]:
    path, places = ("secrets", name), list(secret.sources)
    if not places:
        message = f"secret {name!r} does not say where it is taken from"
        yield Problem(message, *positions.key(*path), f"Write one of: {_PLACES}")
        return
    if len(places) > 1:
        message = f"secret {name!r} is taken from one place, and {' and '.join(places)} are {len(places)}"
        yield Problem(message, *positions.key(*path, places[1]), "Keep one of them.")
        return
    (place,) = places
    if secret.key is not None and place != "secrets-manager":
        message = f"secret {name!r} has a key, but {place} gives the secret itself"
        yield Problem(message, *positions.key(*path, "key"), "Remove the key, or take it from secrets-manager.")
    if place not in IN_AWS:
        if secret.environment is not None:
            message = f"secret {name!r} has an environment, but {place} is read on this machine"
            yield Problem(message, *positions.key(*path, "environment"), "Remove the key.")
    elif secret.environment is None:
        message = f"secret {name!r} lacks an environment: {place} is read in one"
        known = ", ".join(sorted(draft.names["environments"])[:12])
        yield Problem(message, *positions.key(*path), f"Add: environment: NAME. There are: {known or 'none yet'}.")
    elif secret.environment not in draft.names["environments"]:
        hint = did_you_mean(secret.environment, draft.names["environments"], what="environments")
        yield Problem(f"there is no environment {secret.environment!r}", *positions.value(*path, "environment"), hint)


def _stage(name: str, stage: Stage, draft: Draft, positions: Positions) -> Iterator[Problem]:
    if stage.secrets and not KINDS[stage.uses].secrets:
        *takers, last = (kind.name for kind in KINDS.values() if kind.secrets)
        message = f"{name!r} names secrets, but {stage.uses} takes none"
        yield Problem(
            message,
            *positions.key("stages", name, "secrets"),
            f"Remove the key: only {', '.join(takers)} and {last} take secrets.",
        )
        return
    for index, each in enumerate(stage.secrets):
        place = positions.value("stages", name, "secrets", index)
        if each not in draft.names["secrets"]:
            hint = did_you_mean(each, draft.names["secrets"], what="secrets")
            yield Problem(f"there is no secret {each!r}", *place, hint)
        elif each in stage.secrets[:index]:
            yield Problem(f"{each!r} is named twice", *place, "Remove one of them.")
        elif stage.uses == "command" and (wrong := _no_variable(each, stage)):
            message, hint = wrong
            yield Problem(f"secret {each!r} cannot be handed to {name!r}: {message}", *place, hint)


def _no_variable(name: str, stage: Stage) -> tuple[str, str] | None:
    """Say why a command cannot have a variable of this name, and what to do."""
    own = stage.options.get("variables")
    if not _VARIABLE.fullmatch(name):
        return "it would be a variable of that name", f"Rename the secret: {re.sub(r'[^A-Za-z0-9_]', '_', name)}"
    if name.startswith(PREFIX) or name in taken(stage.uses):
        return f"the variable {name} has a meaning of its own", "Rename the secret."
    if isinstance(own, dict) and name in own:
        return "the stage sets a variable of that name", "Rename one of them, or remove the variable."
    return None

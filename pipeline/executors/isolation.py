"""Which isolation stages get: what was asked for, what can be had here, and what is said where these differ.

`required`: stages run isolated, or none starts. `best-effort`: as well as it can be had, and what is missing is said. `none`: no stage is.
TOWPATH_ISOLATION says it for this machine, where a definition does not insist.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from pipeline.errors import UsageError
from pipeline.executors import bubblewrap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.executors.bubblewrap import Bubblewrap

Wanted = Literal["required", "best-effort", "none"]
VARIABLE = "TOWPATH_ISOLATION"

_PR_SET_DUMPABLE = 4  # prctl(2)
OPEN = "A stage can read this user's files, reach the network, and see other processes."
_INSTALL = "sudo apt-get install bubblewrap"
_ALLOW = (
    "Let this user make namespaces; in a container of a CI system that is often forbidden: docs/how-to/isolation.md"
)


@dataclass(frozen=True)
class Isolation:
    """What stages get. `missing` says what they do not, and why; `remedy` what to do about it."""

    sandbox: Bubblewrap | None = None
    missing: str | None = None
    remedy: str | None = None

    @property
    def mode(self) -> str:
        """The word that the record has for it."""
        return "bubblewrap" if self.sandbox else "none"

    @property
    def told(self) -> list[str]:
        """What people are to know before stages run."""
        return [f"WARNING: {self.missing}", *([self.remedy] if self.remedy else [])] if self.missing else []


NONE = Isolation()


def shield(found: Isolation) -> None:
    """Keep what runs as our own user, and is not isolated, from reading our variables and memory. Root can all the same."""
    if found.sandbox is None and os.geteuid() != 0:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def choose(wanted: str, variables: Mapping[str, str]) -> Isolation:
    """Give the isolation of stages on this machine. Raises UsageError if one is required that cannot be had."""
    decided = decide(wanted, variables.get(VARIABLE) or None)
    if decided == "none":
        return Isolation(
            missing=f"stages are not isolated, as {VARIABLE if wanted != 'none' else 'the definition'} says. {OPEN}"
        )
    found = bubblewrap.find(variables)
    if not isinstance(found, str):
        return Isolation(found)
    remedy = _ALLOW if shutil.which("bwrap", path=variables.get("PATH")) else _INSTALL
    if decided == "required":
        raise UsageError(f"stages must be isolated, and cannot be: {found}", hint=remedy)
    return Isolation(missing=f"stages are not isolated, as {found}. {OPEN}", remedy=remedy)


def decide(wanted: str, here: str | None) -> str:
    """Give what counts: what this machine says, where the definition does not insist.

    Raises UsageError for a word that is none, or for `none` against `required`.
    """
    if here is None:
        return wanted
    if here not in get_args(Wanted):
        hint = f"Set it to one of: {', '.join(get_args(Wanted))}."
        raise UsageError(f"{VARIABLE} is {here!r}, which is no isolation", hint=hint)
    if wanted == "required" and here == "none":
        hint = f"Unset {VARIABLE}; or let the definition say another `isolation`, and start a new run."
        raise UsageError(f"the definition requires isolation, and {VARIABLE} is none", hint=hint)
    return "required" if wanted == "required" else here

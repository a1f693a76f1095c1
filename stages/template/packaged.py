"""The packaged templates of an application: each with the values spliced into it that packaging gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.template.splice import splice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stages.template.application import Application
    from stages.template.resources import Path, Slot
    from stages.template.splice import Value


def innermost_first(application: Application) -> list[str]:
    """The paths of all stacks, each before its parent: a parent's template holds the addresses of what is nested in it."""
    return list(reversed(application.stacks))


def packaged(application: Application, stack: str, values: Mapping[Slot, Value]) -> bytes:
    """A stack's template with the values spliced in that are meant for it; those of other stacks are passed over.

    Raises InvalidInput if there is no safe place for a value.
    """
    mine: dict[Path, Value] = {slot.path: value for slot, value in values.items() if slot.stack == stack}
    return splice(application.stacks[stack].template, mine)

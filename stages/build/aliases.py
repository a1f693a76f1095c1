"""The names that `sam build` gives to images: for people and tools that use them. Nothing of ours is ever found by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stages.build.definitions import Definition


def name(definition: Definition) -> str:
    """`<DockerImage or function>:<DockerTag or latest>` in lower case, as AWS SAM CLI has it."""
    repository = definition.image.name or definition.function.id.rpartition("/")[2]
    return f"{repository.lower()}:{definition.image.tag or 'latest'}"


def unambiguous(images: Mapping[str, set[str]]) -> tuple[dict[str, str], dict[str, int]]:
    """Names with their one image, and names that would have several, with how many: SAM lets the last one win, silently."""
    alone = {alias: next(iter(ids)) for alias, ids in images.items() if len(ids) == 1}
    return alone, {alias: len(ids) for alias, ids in images.items() if len(ids) > 1}

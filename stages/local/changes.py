"""Whether the source of functions is still what an image was built from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stages.build import definitions, settings, sources
from stages.contract import Request, StageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stages.contract import Json


def since(project: Path, options: Json, secrets: list[str], built: Mapping[str, Any], cache: Path) -> list[str]:
    """The functions of `built`, entries of an images.json, whose source would now be another. Bases are not looked at.

    `options` and `secrets` are those of the build, `cache` is where it keeps digests of contexts.
    """
    request = Request("build", "check", "local", options, source=".", secrets=secrets)
    try:
        plan = definitions.load(request, project)
        wanted = [each for each in plan.definitions if each.function.id in built]
        found = sources.gather(wanted, settings.read(request).deciding, cache if cache.is_dir() else None)
    except StageError:
        return sorted(built)  # it cannot be built any more
    return sorted(
        function
        for source in found
        for function in source.functions
        if replace(source, bases=built[function].get("bases")).hash != built[function].get("source")
    )

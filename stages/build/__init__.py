"""Build each function's container image from its Dockerfile."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from stages.build.builder import build_all
from stages.build.definitions import load
from stages.build.sources import gather
from stages.contract import Result, StageError
from stages.images import engine, layout
from stages.log import log

if TYPE_CHECKING:
    from stages.build.definitions import Plan
    from stages.contract import Json, Request
    from stages.images.engine import EngineImage

VERSION = 2
"""Of images.json, see docs/reference/hand-over.md."""


def check(request: Request, work: Path) -> Result:
    """Look for mistakes in the template and for files that are missing. Raises InvalidInput with all of them."""
    load(request, work)
    return Result("succeeded")


def apply(request: Request, work: Path) -> Result:
    """Build the images and hand them on. Raises InvalidInput as `check` does, StageError if one cannot be built."""
    plan = load(request, work)
    jobs = max(1, int(request.options.get("jobs", 4)))
    with tempfile.TemporaryDirectory(dir=work, prefix=".contexts-") as folder:
        sources = gather(plan.definitions, Path(folder))
        log(
            f"{_count(len(plan.definitions), 'function')}, {_count(len(set(sources.hashes.values())), 'image')} to build"
        )
        built = build_all(sources, jobs)
    output = work / "outputs" / "images"
    output.mkdir(parents=True, exist_ok=True)
    carrier = str(request.options.get("carrier", "engine"))
    functions = _describe(plan, sources.hashes, built, _carry(carrier, built, output))
    _write_templates(output / "templates", plan)
    _write(output / "images.json", plan, functions)
    facts = {name: {key: each[key] for key in ("config", "size", "platform")} for name, each in functions.items()}
    return Result("succeeded", outputs=["images"], facts={"functions": facts})


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _carry(carrier: str, built: dict[str, EngineImage], output: Path) -> dict[str, Json]:
    """What images.json says about where each image's bytes are, by config digest, once they are there."""
    with engine.connect() as client:
        if carrier == "engine":
            where = engine.engine_id(client)
            return {image.config: {"type": "engine", "engine": where, "image": image.id} for image in built.values()}
        images = {image.config: image.id for image in built.values()}
        log(f"exporting {_count(len(images), 'image')}")
        try:
            layout.write(engine.save(client, sorted(images.values())), output / "oci", set(images))
        except OSError as error:
            hint = "Free space on the disk of the record, or use the carrier `engine`."
            raise StageError(f"the images cannot be exported: {error.strerror or error}", hint=hint) from error
    return {config: {"type": "oci-layout", "path": "oci"} for config in images}


def _write_templates(folder: Path, plan: Plan) -> None:
    """Every template of the application, as it was read, under its path from the project's root."""
    for stack in plan.application.stacks.values():
        path = folder / stack.template.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stack.template.data)


def _describe(
    plan: Plan, hashes: dict[str, str], built: dict[str, EngineImage], carriers: dict[str, Json]
) -> dict[str, Json]:
    described: dict[str, Json] = {}
    for definition in plan.definitions:
        function, source = definition.function, hashes[definition.function.id]
        image = built[source]
        described[function.id] = {
            "stack": function.stack,
            "path": list(function.path),
            "source": source,
            "config": image.config,
            "platform": image.platform,
            "size": image.size_bytes,
            "base": None,
            "carrier": carriers[image.config],
        }
    return described


def _write(path: Path, plan: Plan, functions: dict[str, Json]) -> None:
    application = plan.application
    templates = {path: stack.template.file for path, stack in application.stacks.items()}
    document = {
        "v": VERSION,
        "templates": templates,
        "parameters": application.parameters,
        "functions": functions,
    }
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")

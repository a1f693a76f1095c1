"""Build each function's container image from its Dockerfile."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages.build import aliases, artifacts, reuse, settings, sources
from stages.build.definitions import load
from stages.contract import Result, StageError
from stages.images import engine
from stages.images.fitness import unfit
from stages.images.parallel import together
from stages.log import log

if TYPE_CHECKING:
    from stages.build.definitions import Plan
    from stages.build.prebuilt import Found
    from stages.build.settings import Settings
    from stages.build.sources import Source
    from stages.contract import Json, Request
    from stages.images.engine import EngineImage, Images


@dataclass(frozen=True)
class Made:
    """An image, the source it is of, and what built it: this stage, or an earlier one if `reused`."""

    source: Source
    image: EngineImage
    builder: str
    reused: bool


def check(request: Request, work: Path) -> Result:
    """Look for mistakes in the template and for files that are missing. Raises InvalidInput with all of them."""
    load(request, work)
    return Result("succeeded")


def apply(request: Request, work: Path) -> Result:
    """Build the images and hand them on. Raises InvalidInput as `check` does, StageError if one cannot be built."""
    plan = load(request, work)
    how = settings.read(request)
    home = Path(request.cache) if request.cache else None
    elsewhere = _elsewhere(plan)
    found = sources.gather(plan.definitions, how.deciding, home)
    known = _earlier(request, work)
    before = engine.images([*sources.bases(found), *reuse.images(known)])
    made = _make([sources.on(source, before) for source in found], how, before, known, home)
    given = _give_aliases(plan, made) if how.sam_tags else {}
    output = work / "outputs" / "images"
    output.mkdir(parents=True, exist_ok=True)
    _refuse_unfit(plan, made)
    images = {each.image.config: each.image for each in made}
    images |= {each.config: each.image for each in elsewhere.values() if each.image}
    carriers = _carry(how.carrier, before.engine, images, output)
    functions = _describe(plan, made, carriers, given) | _describe_elsewhere(plan, elsewhere, carriers)
    _write_templates(output / "templates", plan)
    gathered = artifacts.gather(plan.application, Path(os.path.realpath(_root(request, work))), output)
    _write(output / "images.json", plan, functions, gathered)
    return Result("succeeded", outputs=["images"], facts={"functions": _facts(made) | _facts_elsewhere(elsewhere)})


def _elsewhere(plan: Plan) -> dict[str, Found]:
    """The images that somebody else built, by the function's id, looked at before anything is built."""
    if not plan.prebuilt:
        return {}
    from stages.build import prebuilt  # late, as registries' client costs 50 ms

    return prebuilt.find(plan)


def _refuse_unfit(plan: Plan, made: list[Made]) -> None:
    """Refuse images that are built, and that Lambda would not take. Raises StageError with all of them."""
    by_function = {function: each.image for each in made for function in each.source.functions}
    refused: list[BaseException] = []
    for definition in plan.definitions:
        image, function = by_function[definition.function.id], definition.function
        wrong = unfit(image.platform, image.size_bytes, function.platform)
        refused += [StageError(f"{function.id}: {wrong[0]}", where=definition.shown, hint=wrong[1])] if wrong else []
    if refused:
        raise together(refused)


def _root(request: Request, work: Path) -> Path:
    return work / (request.source or "")


def _earlier(request: Request, work: Path) -> list[Json]:
    folder = request.previous.get("images")
    return reuse.earlier(work / folder if folder else None)


def _make(found: list[Source], how: Settings, before: Images, known: list[Json], home: Path | None) -> list[Made]:
    """Give an image for each source: one that is there already, or build it."""
    ready = reuse.reusable(found, known, before, how.builder) if how.skips else {}
    missing = [source for source in found if source.hash not in ready]
    _tell(found, ready, how)
    made = [
        Made(source, ready[source.hash], _builder_of(source, known), reused=True)
        for source in found
        if source.hash in ready
    ]
    if not missing:
        return made
    from stages.build.builder import build_all  # late, as the engine's client costs 100 ms

    builder, built = build_all(missing, how, home)
    after = engine.images(sources.bases(missing))
    return made + [
        Made(sources.after(source, after), built[source.recipe], builder.name, reused=False) for source in missing
    ]


def _builder_of(source: Source, known: list[Json]) -> str:
    return next(str(each.get("builder", "")) for each in known if each.get("source") == source.hash)


def _tell(found: list[Source], ready: dict[str, EngineImage], how: Settings) -> None:
    functions = sum(len(source.functions) for source in found)
    log(f"{_count(functions, 'function')}, {_count(len(found), 'image')}, {len(found) - len(ready)} to build")
    for source in found:
        if source.hash in ready:
            log("nothing changed since it was built", function=source.name, state="reused")
        elif source.doubt and how.skips:
            log(f"is always built: {source.doubt}", function=source.name)


def _give_aliases(plan: Plan, made: list[Made]) -> dict[str, str]:
    """Give the images the names that people know from `sam build`, where one means one image; gives them by function."""
    by_function = {function: each.image.id for each in made for function in each.source.functions}
    named: dict[str, set[str]] = {}
    for definition in plan.definitions:
        named.setdefault(aliases.name(definition), set()).add(by_function[definition.function.id])
    alone, several = aliases.unambiguous(named)
    with engine.connect() as client:
        for alias, image in alone.items():
            repository, _, tag = alias.rpartition(":")
            client.tag(image, repository, tag, force=True)
            log(f"{alias} names it too", image=image)
    for alias, number in several.items():
        log(f"{alias} would name {number} images, so it names none", level="warning")
    names = {definition.function.id: aliases.name(definition) for definition in plan.definitions}
    return {function: alias for function, alias in names.items() if alias in alone}


def _facts(made: list[Made]) -> Json:
    return {
        function: {
            "config": each.image.config,
            "size": each.image.size_bytes,
            "platform": each.image.platform,
            "reused": each.reused,
        }
        for each in made
        for function in each.source.functions
    }


def _facts_elsewhere(found: dict[str, Found]) -> Json:
    return {
        name: {"config": each.config, "size": each.size_bytes, "platform": each.platform, "reused": True}
        for name, each in found.items()
    }


def _describe_elsewhere(plan: Plan, found: dict[str, Found], carriers: dict[str, Json]) -> dict[str, Json]:
    described: dict[str, Json] = {}
    for function in plan.application.functions:
        each = found.get(function.id)
        if each is None:
            continue
        described[function.id] = {
            "stack": function.stack,
            "path": list(function.path),
            "source": None,
            "config": each.config,
            "platform": each.platform,
            "size": each.size_bytes,
            "base": None,
            "bases": None,
            "builder": None,
            "alias": None,
            "carrier": each.carrier or carriers[each.config],
        }
    return described


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _carry(carrier: str, where: str, images: dict[str, EngineImage], output: Path) -> dict[str, Json]:
    """What images.json says about where each image's bytes are, by config digest, once they are there."""
    if carrier == "engine" or not images:
        return {config: {"type": "engine", "engine": where, "image": image.id} for config, image in images.items()}
    from stages.images import layout

    log(f"exporting {_count(len(images), 'image')}")
    try:
        with engine.connect() as client:
            exported = engine.save(client, sorted(image.id for image in images.values()))
            layout.write(exported, output / "oci", set(images))
    except OSError as error:
        hint = "Free space on the disk of the record, or use the carrier `engine`."
        raise StageError(f"the images cannot be exported: {error.strerror or error}", hint=hint) from error
    return {config: {"type": "oci-layout", "path": "oci"} for config in images}


def _describe(plan: Plan, made: list[Made], carriers: dict[str, Json], given: dict[str, str]) -> dict[str, Json]:
    by_function = {function: each for each in made for function in each.source.functions}
    described: dict[str, Json] = {}
    for definition in plan.definitions:
        each = by_function[definition.function.id]
        described[definition.function.id] = {
            "stack": definition.function.stack,
            "path": list(definition.function.path),
            "source": each.source.hash,
            "config": each.image.config,
            "platform": each.image.platform,
            "size": each.image.size_bytes,
            "base": each.source.base,
            "bases": each.source.bases,
            "builder": each.builder,
            "alias": given.get(definition.function.id),
            "carrier": carriers[each.image.config],
        }
    return described


def _write_templates(folder: Path, plan: Plan) -> None:
    """Every template of the application, as it was read, under its path from the project's root."""
    for stack in plan.application.stacks.values():
        path = folder / stack.template.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stack.template.data)


def _write(path: Path, plan: Plan, functions: dict[str, Json], gathered: list[Json]) -> None:
    application = plan.application
    templates = {path: stack.template.file for path, stack in application.stacks.items()}
    document = {
        "v": reuse.VERSION,
        "templates": templates,
        "parameters": application.parameters,
        "functions": functions,
        "artifacts": gathered,
    }
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")

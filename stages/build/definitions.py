"""What is to be built: the functions of an application, with their files found and checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages import template as templates
from stages.build import artifacts, flags
from stages.contract import InvalidInput, Problem, StageError
from stages.template import BuiltImage, Reference, Unreadable
from stages.template.resources import in_order

if TYPE_CHECKING:
    from stages.contract import Request
    from stages.template import Application, Function, Slot, Value


@dataclass(frozen=True)
class Definition:
    """How one image is built: `context` is a real directory, `dockerfile` a path below it, `args` all build arguments.

    `image` is what the template says. `shown` is the Dockerfile's path from the project's root, as people know it.
    """

    function: Function
    image: BuiltImage
    context: Path
    dockerfile: str
    shown: str
    args: dict[str, str]


@dataclass(frozen=True)
class Prebuilt:
    """An image that somebody else built. `archive` is the real path of the file, if it is one."""

    function: Function
    reference: Reference
    archive: Path | None = None


@dataclass(frozen=True)
class Plan:
    application: Application
    definitions: list[Definition]
    prebuilt: list[Prebuilt]


def load(request: Request, work: Path) -> Plan:
    """Read the template a request names and find what is to be built. Raises InvalidInput with every mistake found."""
    if request.source is None:
        raise StageError("build needs the project's source, and was given none", cls="fault")
    root = Path(os.path.realpath(work / request.source))
    parameters = {str(name): str(value) for name, value in request.options.get("parameters", {}).items()}
    file = os.path.normpath(str(request.options["template"]))
    application, problems = templates.load(lambda name: _read(root, name), file, parameters)
    if not application.functions and not problems and not templates.artifacts(application):
        problems.append(_nothing(application))
    overrides = {str(name): str(value) for name, value in request.options.get("build-args", {}).items()}
    plan = Plan(application, [], [])
    for function in application.functions:
        found = _found(_Files(application, function, root), overrides)
        if isinstance(found, Problem):
            problems.append(found)
        elif isinstance(found, Definition):
            plan.definitions.append(found)
        else:
            plan.prebuilt.append(found)
    problems += [
        *_unspliceable(application),
        *artifacts.check(application, root),
        *_refused_flags(plan),
        *_wrong_archives(plan),
    ]
    if problems:
        raise InvalidInput(list(in_order(problems)))
    return plan


def _read(root: Path, name: str) -> bytes:
    """The bytes of a template inside the project."""
    path = Path(os.path.realpath(root / name))
    if not path.is_relative_to(root):
        raise Unreadable("is outside the project")
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise Unreadable("does not exist") from error
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or error}") from error


def _nothing(application: Application) -> Problem:
    return application.root.problem(
        application.root.root.get("Resources") or application.root.root,
        "no function of this template is of PackageType Image, so there is nothing to build",
        "Give a function `PackageType: Image`, and Metadata with Dockerfile and DockerContext.",
    )


def _unspliceable(application: Application) -> list[Problem]:
    """Functions that `package` could not give an image to: better told before the build than after it.

    A loop's functions that are of one image are tried with one, and others each with its own.
    """
    problems: list[Problem] = []
    numbers: dict[str, int] = {}
    tried: dict[Slot, Value] = {
        function.slot: f"tried{numbers.setdefault(repr(function.image), len(numbers))}"
        for function in application.functions
    }
    for stack in application.stacks:
        try:
            templates.packaged(application, stack, tried)
        except InvalidInput as error:
            problems += error.problems
    return problems


def _refused_flags(plan: Plan) -> list[Problem]:
    problems = []
    for definition in plan.definitions:
        refused = flags.refusal(definition.image.extra_params)
        if refused:
            files = _Files(plan.application, definition.function, Path())
            message = f"DockerBuildExtraParams: {refused.message}"
            problems.append(files.wrong("DockerBuildExtraParams", message, refused.hint))
    return problems


def _wrong_archives(plan: Plan) -> list[Problem]:
    if not any(each.archive for each in plan.prebuilt):
        return []
    from stages.build import prebuilt  # late, as few functions are of archives

    return prebuilt.check(plan)


@dataclass(frozen=True)
class _Files:
    """The files that one function names, below the project's root."""

    application: Application
    function: Function
    root: Path

    @property
    def folder(self) -> Path:
        """Of its template."""
        return (self.root / self.application.stacks[self.function.stack].template.file).parent

    def wrong(self, key: str, message: str, hint: str) -> Problem:
        template = self.application.stacks[self.function.stack].template
        node = self.function.nodes.get(key, self.function.nodes["resource"])
        return template.problem(node, f"{self.function.id}: {message}", hint)


def _found(files: _Files, overrides: dict[str, str]) -> Definition | Prebuilt | Problem:
    image = files.function.image
    if isinstance(image, Reference):
        return _archive(files, image) if image.kind == "archive" else Prebuilt(files.function, image)
    found = _context(files, image)
    if isinstance(found, Problem):
        return found
    context, dockerfile = found
    shown = _shown(context / dockerfile, files.root)
    return Definition(files.function, image, context, dockerfile, shown, image.build_args | overrides)


def _archive(files: _Files, reference: Reference) -> Prebuilt | Problem:
    """The archive that an ImageUri names, or what is wrong with it."""
    path = Path(os.path.realpath(files.folder / reference.name))
    if not path.is_relative_to(files.root):
        return files.wrong(
            "ImageUri", f"the archive {reference.name!r} is outside the project", "Move it into the project."
        )
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        hint = f"It is relative to the template's folder. Make it with `docker save`: {_shown(path, files.root)}"
        return files.wrong("ImageUri", f"the archive {reference.name!r} {what}", hint)
    return Prebuilt(files.function, reference, path)


def _context(files: _Files, image: BuiltImage) -> tuple[Path, str] | Problem:
    """A function's real context and its Dockerfile below it, or what is wrong with them."""
    root, wrong = files.root, files.wrong
    context = Path(os.path.realpath(files.folder / image.context))
    if not context.is_relative_to(root):
        return wrong(
            "DockerContext",
            f"DockerContext {image.context!r} is outside the project",
            "Everything that is built must be in the project; links out of it do not count. Move the files into it.",
        )
    if not context.is_dir():
        what = "is not a directory" if context.exists() else "does not exist"
        hint = f"It is relative to the template's folder. Create it, or correct it: {_shown(context, root)}"
        return wrong("DockerContext", f"DockerContext {image.context!r} {what}", hint)
    name = os.path.relpath(context / image.dockerfile, context)
    real = Path(os.path.realpath(context / name))
    if not real.is_relative_to(context) or Path(name).parts[:1] == (os.pardir,):
        return wrong(
            "Dockerfile",
            f"Dockerfile {image.dockerfile!r} is outside its DockerContext {image.context!r}",
            "Move it into the context, or name a context that holds it; .dockerignore keeps the rest out of the image.",
        )
    if not real.is_file():
        what = "is not a file" if real.exists() else "does not exist"
        hint = f"It is relative to DockerContext. Create it, or correct it: {_shown(context / name, root)}"
        return wrong("Dockerfile", f"Dockerfile {image.dockerfile!r} {what}", hint)
    return context, name


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

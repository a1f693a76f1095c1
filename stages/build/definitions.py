"""What is to be built: the template's functions, with their files found and checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages import template as templates
from stages.contract import InvalidInput, Problem, StageError

if TYPE_CHECKING:
    from stages.contract import Request
    from stages.template import Function, Template
    from stages.template.tree import Node


@dataclass(frozen=True)
class Definition:
    """How one image is built: `context` is a real directory, `dockerfile` a path below it, `args` all build arguments.

    `shown` is the Dockerfile's path from the project's root, as people know it.
    """

    function: Function
    context: Path
    dockerfile: str
    shown: str
    args: dict[str, str]


@dataclass(frozen=True)
class Plan:
    template: Template
    definitions: list[Definition]


def load(request: Request, work: Path) -> Plan:
    """Read the template a request names and find what is to be built. Raises InvalidInput with every mistake found."""
    if request.source is None:
        raise StageError("build needs the project's source, and was given none", cls="fault")
    root = Path(os.path.realpath(work / request.source))
    template = templates.read(*_template(root, str(request.options["template"])))
    functions, problems = templates.functions(template)
    if not functions and not problems:
        problems.append(
            template.problem(
                template.root.get("Resources") or template.root,
                "no function of this template is of PackageType Image, so there is nothing to build",
                "Give a function `PackageType: Image`, and Metadata with Dockerfile and DockerContext.",
            )
        )
    overrides = {str(name): str(value) for name, value in request.options.get("build-args", {}).items()}
    folder = (root / template.file).parent
    definitions = []
    for function in functions:
        found = _definition(template, function, root, folder)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            context, dockerfile = found
            shown = _shown(context / dockerfile, root)
            definitions.append(Definition(function, context, dockerfile, shown, function.build_args | overrides))
    problems += _unspliceable(template, functions)
    if problems:
        raise InvalidInput(sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0)))
    return Plan(template, definitions)


def _unspliceable(template: Template, functions: list[Function]) -> list[Problem]:
    """Functions that `package` could not give an image to: better told before the build than after it."""
    try:
        templates.splice(template, {function.path: "tried" for function in functions})
    except InvalidInput as error:
        return error.problems
    return []


def _template(root: Path, name: str) -> tuple[bytes, str]:
    """The template's bytes and its name from the project's root."""
    path = Path(os.path.realpath(root / name))
    if not path.is_relative_to(root):
        hint = "Name a template inside the project."
        raise InvalidInput([Problem(f"the template {name} is outside the project", hint=hint)])
    try:
        return path.read_bytes(), os.path.normpath(name)
    except FileNotFoundError as error:
        hint = "Correct the option `template`: it is a path from the project's root."
        raise InvalidInput([Problem(f"there is no template {name}", name, hint=hint)]) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidInput([Problem(f"the template {name} cannot be read: {reason}", name)]) from error


def _definition(template: Template, function: Function, root: Path, folder: Path) -> tuple[Path, str] | Problem:
    """A function's real context and its Dockerfile below it, or what is wrong with them."""
    context = Path(os.path.realpath(folder / function.context))

    def wrong(key: str, message: str, hint: str) -> Problem:
        node: Node = function.nodes[key]
        return template.problem(node, f"{function.id}: {message}", hint)

    if not context.is_relative_to(root):
        return wrong(
            "DockerContext",
            f"DockerContext {function.context!r} is outside the project",
            "Everything that is built must be in the project; links out of it do not count. Move the files into it.",
        )
    if not context.is_dir():
        what = "is not a directory" if context.exists() else "does not exist"
        hint = f"It is relative to the template's folder. Create it, or correct it: {_shown(context, root)}"
        return wrong("DockerContext", f"DockerContext {function.context!r} {what}", hint)
    name = os.path.relpath(context / function.dockerfile, context)
    real = Path(os.path.realpath(context / name))
    if not real.is_relative_to(context) or Path(name).parts[:1] == (os.pardir,):
        return wrong(
            "Dockerfile",
            f"Dockerfile {function.dockerfile!r} is outside its DockerContext {function.context!r}",
            "Move it into the context, or name a context that holds it; .dockerignore keeps the rest out of the image.",
        )
    if not real.is_file():
        what = "is not a file" if real.exists() else "does not exist"
        hint = f"It is relative to DockerContext. Create it, or correct it: {_shown(context / name, root)}"
        return wrong("Dockerfile", f"Dockerfile {function.dockerfile!r} {what}", hint)
    return context, name


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

"""Templates to files. They are package data in `templates/`: what ends with `.j2` is filled in, the rest is taken as it is.

`{= x =}` is a value and `{% if x %}` a block, so that `${{ x }}` of a workflow and `{{ x }}` stay what they are. A path's part
`dot-name` becomes `.name`: tools that look for hidden files are not to find those of the templates.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from pipeline.init import choices

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from importlib.resources.abc import Traversable

    from pipeline.init.choices import Choices, Function
    from pipeline.init.runtimes import Runtime
    from pipeline.init.sam import Project as SamProject

_SUFFIX = ".j2"
_SHARED = frozenset(
    {
        "pipeline.d/people.yaml",
        "pipeline.d/allowed_signers",
        "advisories/README.md",
        "advisories/GHSA-j8r2-6x86-q33q.json",
    }
)
"""What a SAM project gets as a new one does."""


def project(chosen: Choices, machine: str) -> dict[str, bytes]:
    """Give every file of a new project, by its path in it. `machine` is the architecture that we run on."""
    values = vars(chosen) | {"machine": machine, "ecosystem": chosen.runtime.ecosystem} | _for_ci(chosen.architecture)
    found = _folder("project", values)
    if chosen.ci != "none":
        found |= _folder(chosen.ci, values)
    for each in chosen.functions:
        found |= function(each, chosen.runtime, chosen.base_image, api=chosen.api)
    return found


def from_sam(found: SamProject, ci: str) -> dict[str, bytes]:
    """Give every file that a SAM project gets, by its path in it."""
    values = vars(found) | {"ecosystem": ""} | _for_ci("x86_64", smoke=False)
    shared = _folder("project", values, only=_SHARED)
    return shared | _folder("sam", values) | (_folder(ci, values) if ci != "none" else {})


def function(named: Function, runtime: Runtime, base_image: str, *, api: bool) -> dict[str, bytes]:
    """Give every file of a function, by its path in the project."""
    values = {"function": named, "runtime": runtime, "base_image": base_image, "api": api}
    found = _folder("functions/common", values) | _folder(f"functions/{runtime.name}", values)
    return {f"functions/{named.name}/{path}": data for path, data in found.items()}


def template(named: Function, *, api: bool) -> bytes:
    """Give a template that has just this function, to take its entries from."""
    values = {"name": "x", "architecture": "x", "functions": [named], "api": api}
    return _folder("project", values, only={"template.yaml"})["template.yaml"]


def smoke(named: Function, *, api: bool) -> str:
    """Give what is asked of a function, as entries of a requests file."""
    text = _folder("project", {"functions": [named], "api": api}, only={"smoke.yaml"})["smoke.yaml"].decode()
    return text[text.index("\n- ") :]


def _for_ci(architecture: str, *, smoke: bool = True) -> dict[str, Any]:
    """What workflows need to know besides. `smoke`: whether a deployment is followed by a test."""
    runner = "ubuntu-24.04-arm" if architecture == "arm64" else "ubuntu-24.04"
    return {"runner": runner, "partition": choices.partition, "smoke": smoke}


def _folder(name: str, values: dict[str, Any], only: AbstractSet[str] = frozenset()) -> dict[str, bytes]:
    root = files("pipeline.init") / "templates"
    for part in name.split("/"):
        root /= part
    named = ((_named(path), path, file) for path, file in _below(root, ""))
    return {
        target: _filled(file.read_text(encoding="utf-8"), values) if path.endswith(_SUFFIX) else file.read_bytes()
        for target, path, file in named
        if not only or target in only
    }


def _below(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for each in sorted(folder.iterdir(), key=lambda one: one.name):
        if each.is_dir():
            yield from _below(each, f"{prefix}{each.name}/")
        else:
            yield f"{prefix}{each.name}", each


def _named(path: str) -> str:
    parts = path.removesuffix(_SUFFIX).split("/")
    return "/".join(f".{part[4:]}" if part.startswith("dot-") else part for part in parts)


def _filled(text: str, values: dict[str, Any]) -> bytes:
    return _ENVIRONMENT.from_string(text).render(values).encode()


def _quoted(text: str) -> str:
    """A text as it stands in YAML: JSON is YAML."""
    return json.dumps(text, ensure_ascii=False)


_ENVIRONMENT = Environment(  # noqa: S701 - what is made is YAML, code and text, and no page of HTML
    variable_start_string="{=",
    variable_end_string="=}",
    comment_start_string="{##",
    comment_end_string="##}",
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=StrictUndefined,
)
_ENVIRONMENT.filters["quoted"] = _quoted

"""What a Dockerfile says, as far as that can be known without building it: its instructions, and the images it begins with.

https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_DIRECTIVE = re.compile(r"#\s*(\w+)\s*=\s*(.*?)\s*")
_HEREDOC = re.compile(r"(?<!<)<<(-?)\s*([\"']?)([A-Za-z0-9_][\w.]*)\2")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(:?[-+])([^}$]*))?\})")
_FLAG = re.compile(r"--([a-z-]+)(?:=(\S*))?\s+")
_FETCHED = re.compile(r"[a-z+]+://|git@|.*\.git(#|$)", re.IGNORECASE)
_OFFICIAL_FRONTEND = re.compile(r"(docker\.io/)?docker/dockerfile(-upstream)?([:@].*)?")


@dataclass(frozen=True)
class Instruction:
    """An instruction: its first line, counted from 1, and its text with continued lines joined."""

    line: int
    text: str

    @property
    def word(self) -> str:
        """What it is: FROM, RUN, COPY."""
        return self.text.partition(" ")[0].upper()

    @property
    def rest(self) -> str:
        """All that follows the word."""
        return self.text[len(self.word) :].strip()


def instructions(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile, in order: the classic builder's step N is the Nth.

    Understands comments, continued lines, the `escape` directive and here-documents, whose lines belong to their instruction.
    """
    escape = directives(text).get("escape", "\\")
    found: list[Instruction] = []
    start, parts = 0, []
    here: list[tuple[str, bool]] = []  # the words that end the here-documents still open, and whether tabs may precede
    for number, line in enumerate(text.splitlines(), 1):
        if here:
            word, tabs = here[0]
            if (line.lstrip("\t") if tabs else line) == word:
                here.pop(0)
            continue
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):  # a comment or an empty line does not end a continued instruction
            continue
        start = start or number
        parts.append(stripped.removesuffix(escape).strip().replace("\t", " "))
        if not stripped.endswith(escape):
            found.append(Instruction(start, " ".join(parts)))
            here = _heredocs(found[-1])
            start, parts = 0, []
    if parts:
        found.append(Instruction(start, " ".join(parts)))
    return found


def directives(text: str) -> dict[str, str]:
    """The parser directives: comments `# name=value` before anything else."""
    found: dict[str, str] = {}
    for line in text.removeprefix("\ufeff").splitlines():
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None or match[1].lower() in found:
            break
        found[match[1].lower()] = match[2]
    return found


def _heredocs(instruction: Instruction) -> list[tuple[str, bool]]:
    if instruction.word not in ("RUN", "COPY", "ADD"):
        return []
    return [(match[3], match[1] == "-") for match in _HEREDOC.finditer(instruction.text)]


@dataclass(frozen=True)
class Reading:
    """What a build of a Dockerfile takes from outside its context.

    `images` are the references that it names, `base` the one that its target grows from; None is `scratch`. `doubt` says
    why another build of the same may take something else, so that it must always be built; None if nothing does.
    """

    images: tuple[str, ...] = ()
    base: str | None = None
    doubt: str | None = None


class _Unclear(Exception):
    """The Dockerfile says something that only a build can tell the meaning of."""


def read(text: str, args: Mapping[str, str], target: str | None = None) -> Reading:
    """Read a Dockerfile with these build arguments."""
    try:
        return _read(text, args, target)
    except _Unclear as unclear:
        return Reading(doubt=str(unclear))


def _read(text: str, args: Mapping[str, str], target: str | None) -> Reading:
    frontend = args.get("BUILDKIT_SYNTAX") or directives(text).get("syntax")
    if frontend and not _OFFICIAL_FRONTEND.fullmatch(frontend):
        raise _Unclear(f"its syntax is {frontend}, which may mean anything")
    values: dict[str, str] = {}
    stages: dict[str, str | None] = {}  # by name, and by number as text: the image that each grows from
    images: dict[str, None] = {}
    base: str | None = None
    chosen: str | None = None
    for each in instructions(text):
        if each.word == "ARG" and not stages:
            values |= _defaults(each.rest, args, values)
        elif each.word == "FROM":
            base = _from(each, values, stages, images)
            if target is not None and target.lower() in stages and chosen is None:
                chosen = target.lower()
        else:
            images |= dict.fromkeys(_named(each, stages))
            _refuse_fetching(each)
    return Reading(tuple(images), stages[chosen] if chosen else base)


def _defaults(rest: str, args: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for part in rest.split():
        name, equals, default = part.partition("=")
        if name in args:
            found[name] = args[name]
        elif equals:
            found[name] = _expand(default.strip("\"'"), values)
    return found


def _from(
    each: Instruction, values: Mapping[str, str], stages: dict[str, str | None], images: dict[str, None]
) -> str | None:
    """Note a stage, and give the image that it grows from."""
    words = _without_flags(each.rest)[0].split()
    if not words:
        raise _Unclear("a FROM names nothing")
    reference = _expand(words[0], values)
    if reference.lower() in stages:
        base = stages[reference.lower()]
    else:
        base = None if reference == "scratch" else reference
        images |= {base: None} if base else {}
    number = sum(name.isdecimal() for name in stages)
    stages[str(number)] = base
    if len(words) == 3 and words[1].upper() == "AS":
        stages[words[2].lower()] = base
    return base


def _named(each: Instruction, stages: Mapping[str, str | None]) -> Iterable[str]:
    """The images that an instruction takes files from."""
    for flag, value in _without_flags(each.rest)[1]:
        if flag == "from":
            named = [value]
        elif flag == "mount":
            named = [part.partition("=")[2] for part in value.split(",") if part.startswith("from=")]
        else:
            continue
        for reference in named:
            if "$" in reference:
                raise _Unclear(f"{each.word} takes files from {reference}, which only a build can tell")
            if reference.lower() not in stages and reference != "scratch":
                yield reference


def _refuse_fetching(each: Instruction) -> None:
    if each.word != "ADD":
        return
    rest = _without_flags(each.rest)[0]
    try:
        sources = [str(name) for name in json.loads(rest)][:-1] if rest.startswith("[") else rest.split()[:-1]
    except (ValueError, TypeError):
        sources = rest.split()
    for source in sources:
        if _FETCHED.match(source) or "$" in source:
            raise _Unclear(f"ADD fetches {source}, and what is there may change")


def _without_flags(rest: str) -> tuple[str, list[tuple[str, str]]]:
    flags = []
    while match := _FLAG.match(rest):
        flags.append((match[1], match[2] or ""))
        rest = rest[match.end() :]
    return rest, flags


def _expand(text: str, values: Mapping[str, str]) -> str:
    """Replace variables, as FROM does. Raises _Unclear for what is not known before the build."""

    def value(match: re.Match[str]) -> str:
        name, modifier, word = match[1] or match[2], match[3] or "", match[4] or ""
        known = values.get(name)
        is_set = bool(known) if modifier.startswith(":") else known is not None
        if modifier.endswith("+"):
            return word if is_set else ""
        if modifier.endswith("-") and not is_set:
            return word
        if known is None:
            raise _Unclear(f"FROM uses ${name}, which only a build can tell")
        return known

    expanded = _VARIABLE.sub(value, text.strip("\"'"))
    if "$" in expanded:
        raise _Unclear(f"FROM {text} is more than can be read here")
    return expanded

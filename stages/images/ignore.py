"""`.dockerignore` as Docker reads it: https://docs.docker.com/build/concepts/context/#dockerignore-files

The rules are those of github.com/moby/patternmatcher, which BuildKit and the docker command share: the last pattern that fits
a path or one of its parents decides, `!` lets through again, `**` stands for any number of folders.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from functools import cached_property

from stages.contract import StageError

NAME = ".dockerignore"


@dataclass(frozen=True)
class Pattern:
    """One line: its text without the `!`, whether it lets through, and what it fits."""

    text: str
    lets_through: bool
    fits: re.Pattern[str]


@dataclass(frozen=True)
class Ignore:
    """The patterns of a context, in order; the last that fits decides."""

    patterns: tuple[Pattern, ...] = ()
    _folders: dict[str, tuple[bool, ...]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def lines(self) -> list[str]:
        """The patterns as a `.dockerignore` has them."""
        return [("!" if each.lets_through else "") + each.text for each in self.patterns]

    @cached_property
    def _exceptions(self) -> bool:
        return any(each.lets_through for each in self.patterns)

    @cached_property
    def _any(self) -> re.Pattern[str]:
        return re.compile("|".join(each.fits.pattern for each in self.patterns) or "(?!)", re.DOTALL)

    def ignores(self, name: str) -> bool:
        """Whether a path of the context, with `/` between its parts, is left out."""
        if not self._exceptions:
            return self._any.fullmatch(name) is not None or any(self._folder(name.rpartition("/")[0]))
        ignored = False
        for pattern, fits in zip(self.patterns, self._fitting(name), strict=True):
            if fits:
                ignored = not pattern.lets_through
        return ignored

    def descends(self, folder: str) -> bool:
        """Whether something below a folder that is left out may still be let through."""
        return self._exceptions and any(
            each.lets_through and _may_fit_below(each.text, folder) for each in self.patterns
        )

    def _fitting(self, name: str) -> tuple[bool, ...]:
        """Which patterns fit a path or one of its parents."""
        above = self._folder(name.rpartition("/")[0])
        if not above:
            return tuple(pattern.fits.fullmatch(name) is not None for pattern in self.patterns)
        return tuple(
            before or pattern.fits.fullmatch(name) is not None
            for before, pattern in zip(above, self.patterns, strict=True)
        )

    def _folder(self, name: str) -> tuple[bool, ...]:
        """The same of a folder, remembered: everything in it asks. Nothing for the context itself, which no pattern fits."""
        if not name:
            return ()
        if name not in self._folders:
            self._folders[name] = self._fitting(name)
        return self._folders[name]


def parse(text: str, more: tuple[str, ...] = ()) -> Ignore:
    """Read the text of a `.dockerignore`; `more` are lines that stand after it. Raises StageError for a pattern that is none."""
    lines = text.removeprefix("\ufeff").split("\n")
    patterns = []
    for number, line in enumerate([*lines, *more], 1):
        if line.startswith("#") or not line.strip():
            continue
        pattern = line.strip()
        lets_through = pattern.startswith("!")
        pattern = pattern.removeprefix("!").strip()
        if not pattern:
            raise StageError(f"line {number}: `!` alone is no pattern", hint="Write after it what to let through.")
        cleaned = _clean(pattern)
        patterns.append(Pattern(cleaned, lets_through, _compile(cleaned, number)))
    return Ignore(tuple(patterns))


def _clean(pattern: str) -> str:
    """As Go's filepath.Clean, and relative to the context."""
    cleaned = posixpath.normpath(pattern)
    while cleaned.startswith("/") and len(cleaned) > 1:
        cleaned = cleaned[1:]
    if pattern.startswith("/"):  # no `..` leads above the root
        while cleaned.startswith("../"):
            cleaned = cleaned[3:]
    return cleaned


def _compile(pattern: str, number: int) -> re.Pattern[str]:
    try:
        return re.compile(_expression(pattern), re.DOTALL)
    except (re.error, ValueError) as error:
        raise StageError(f"line {number}: {pattern!r} is no pattern: {error}") from error


def _expression(pattern: str) -> str:
    """The regular expression for a pattern, which is to fit a whole path."""
    if pattern.startswith("**") and len(pattern) > 2 and not _is_special(pattern[2:]):
        rest = pattern[2:]  # a suffix: of names too, where no slash follows the stars
        return f"(?:.*/)?{re.escape(rest[1:])}" if rest.startswith("/") else f".*{re.escape(rest)}"
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        at = _part(pattern, at, parts)
    return "".join(parts)


def _is_special(text: str) -> bool:
    return any(character in text for character in "*?[]\\")


def _part(pattern: str, at: int, parts: list[str]) -> int:
    """Translate what stands at `at`, and give where the next part begins."""
    character = pattern[at]
    if pattern.startswith("**", at):
        at += 2 + pattern.startswith("/", at + 2)
        parts.append(".*" if at >= len(pattern) else "(?:.*/)?")
        return at
    if character == "*":
        parts.append("[^/]*")
    elif character == "?":
        parts.append("[^/]")
    elif character == "[":
        end = _class_end(pattern, at)
        parts.append(_class(pattern[at + 1 : end]))
        return end + 1
    elif character == "\\":
        if at + 1 == len(pattern):
            raise ValueError("it ends with a backslash")
        parts.append(re.escape(pattern[at + 1]))
        return at + 2
    else:
        parts.append(re.escape(character))
    return at + 1


def _class_end(pattern: str, at: int) -> int:
    """Where the class that begins at `at` ends; one without an end, or empty, is none."""
    here = at + 1 + pattern.startswith("^", at + 1)
    start = here
    while here < len(pattern) and (pattern[here] != "]" or here == start):
        here += 1 + (pattern[here] == "\\")
    if here >= len(pattern):
        raise ValueError("a [ without its ]")
    return here


def _class(inner: str) -> str:
    negated = inner.startswith("^")
    inner = (
        inner.removeprefix("^").replace("[", "\\[").replace("&&", "&\\&").replace("||", "|\\|").replace("~~", "~\\~")
    )
    return f"[{'^' if negated else ''}{inner}]"


def _may_fit_below(pattern: str, folder: str) -> bool:
    """Whether a pattern can fit something in a folder. A class or an escape is not looked into: it may."""
    for wanted, has in zip(pattern.split("/"), folder.split("/"), strict=False):
        if "**" in wanted or any(character in pattern for character in "[\\"):
            return True
        if not re.fullmatch(_expression(wanted), has, re.DOTALL):
            return False
    return True

"""How a packaged template is made to name copies: the same images and nested templates, elsewhere. Pure; standard library only.

A stage that copies a release does it, and an audit does it again: what differs between a release and its copy is just this.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_BEFORE, _AFTER = rb"(?<![A-Za-z0-9._:/@-])", rb"(?![A-Za-z0-9._:/@-])"
"""What could go on with an address does not stand beside it."""


def relocated(data: bytes, moved: Mapping[str, str]) -> bytes:
    """Give a template's bytes with each address replaced by that of its copy, wherever it is named in full; nothing else differs.

    `moved` maps addresses that hold a digest, so that none is there by chance: `registry/repository@sha256:…`, or that of a
    nested template.
    """
    if not moved:
        return data
    known = {old.encode(): new.encode() for old, new in moved.items()}
    longest_first = sorted(known, key=len, reverse=True)
    pattern = _BEFORE + b"(" + b"|".join(map(re.escape, longest_first)) + b")" + _AFTER
    return re.sub(pattern, lambda found: known[found[1]], data)


def names(data: bytes, address: str) -> bool:
    """Tell whether a template names an address."""
    return re.search(_BEFORE + re.escape(address.encode()) + _AFTER, data) is not None


def innermost_first(paths: Iterable[str]) -> list[str]:
    """Give the paths of stacks (`""`, `Child`, `Child/Grand`) so that each stands before the one around it, which names its address."""
    return sorted(paths, key=lambda path: (-len(path.split("/")) if path else 0, path))

"""Which of two versions is the later one, by the rules of their ecosystem. Ordering is univers's.

Compare by `<` alone: univers 32's `>=` is wrong for Alpine, where it compares the texts (1.0-r10 is not above 1.0-r5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.bom.packages import Type

_FORMS: dict[str, re.Pattern[str]] = {
    "rpm": re.compile(r"(?:\d+:)?[A-Za-z0-9._+~^]+(?:-[A-Za-z0-9._+~^]+)?"),
    "npm": re.compile(r"v?\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"),
}
"""What univers takes without complaint, though it is no version of the kind."""
_LONGEST = 200


class Unknown(Exception):
    """There is a version that cannot be compared."""


def parse(kind: Type, text: str) -> Any:
    """Give a value that can be compared with others of the same kind. Raises Unknown."""
    form = _FORMS.get(kind)
    if len(text) > _LONGEST or text != "".join(text.split()) or (form and not form.fullmatch(text)):
        raise Unknown(text)
    try:
        return _maker(kind)(text)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise Unknown(text) from error


def _maker(kind: Type) -> Callable[[str], Any]:
    from univers import versions  # late: it costs 100 ms

    makers: dict[Type, Callable[[str], Any]] = {
        "deb": versions.DebianVersion,
        "rpm": versions.RpmVersion,
        "apk": versions.AlpineLinuxVersion,
        "pypi": versions.PypiVersion,
        "npm": versions.SemverVersion,
    }
    return makers[kind]

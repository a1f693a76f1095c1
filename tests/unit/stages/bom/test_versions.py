"""The order of versions, against the programs whose order it is."""

from __future__ import annotations

import itertools
import subprocess
from typing import TYPE_CHECKING

import pytest

from stages.bom.versions import parse

if TYPE_CHECKING:
    from stages.bom.packages import Type

DEB = [
    "1.0",
    "1.0-1",
    "1.0~rc1-1",
    "1:0.5",
    "1.0+b1-1",
    "1.0-1+deb12u1",
    "1.0-1+deb12u10",
    "1.0-1~bpo12+1",
    "2.36-9+deb12u9",
    "1.0a",
]
ORDERED: dict[Type, list[str]] = {
    "apk": ["1.0_alpha1-r0", "1.0_rc1-r0", "1.0-r0", "1.0-r5", "1.0-r10", "1.0_p1-r0", "1.0a-r0", "1.0.1-r0", "1.9-r0", "1.10-r0"],
    "rpm": ["1.0~rc1-1", "1.0-1", "1.0-1.el9", "1.0-2", "1.0^git1-1", "1.0.1-1", "1.10-1", "1:0.1-1"],
    "npm": ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.10.0", "2.0.0"],
    "pypi": ["1.0.dev1", "1.0a1", "1.0rc1", "1.0", "1.0.post1", "1.9", "1.10", "1!0.1"],
}  # fmt: skip


@pytest.mark.parametrize("kind", ORDERED)
def test_order(kind: Type) -> None:
    for one, other in itertools.combinations([parse(kind, each) for each in ORDERED[kind]], 2):
        assert one < other, (one, other)
        assert not other < one, (one, other)


def test_the_order_of_debian_is_that_of_dpkg() -> None:
    for one, other in itertools.product(DEB, repeat=2):
        expected = subprocess.run(["dpkg", "--compare-versions", one, "lt", other], check=False).returncode == 0
        assert (parse("deb", one) < parse("deb", other)) is expected, (one, other)

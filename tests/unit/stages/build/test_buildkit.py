from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stages.build.builders import Builder, Client
from stages.build.buildkit import Reader, arguments
from stages.build.order import Order
from stages.images.ignore import Ignore

if TYPE_CHECKING:
    from stages.build.order import Told

DOCKERFILE = "FROM base AS one\n# comment\nRUN echo first\nRUN echo the reason; \\\n  exit 3\nCOPY code /\n"


def _read(text: str, dockerfile: str = DOCKERFILE) -> tuple[Told, list[str]]:
    said: list[str] = []
    reader = Reader(said.append, dockerfile)
    for line in text.splitlines():
        reader.add(line + "\n")
    return reader.told(None, 1), said


OLD = """\
#1 [internal] load build definition from Dockerfile
#1 sha256:9a817d71b70129c1d54f3b476daeb412a9cf7c79f87e1f9dfe202ab6ab18dcb7
#1 transferring dockerfile: 178B done
#1 DONE 0.0s

#4 [1/4] FROM docker.io/library/base
#4 sha256:5b35e36cd1e0a094a0222751c610a69cc98b0f511845358e73a1947dd932a7e2
#4 CACHED

#5 [2/4] RUN echo first
#5 0.188 first
#5 DONE 0.2s

#6 [3/4] RUN echo the reason;   exit 3
#6 0.193 the reason
#6 ERROR: executor failed running [/bin/sh -c echo the reason;   exit 3]: exit code: 3
------
 > [3/4] RUN echo the reason;   exit 3:
#6 0.193 the reason
------
executor failed running [/bin/sh -c echo the reason;   exit 3]: exit code: 3
"""

NEW = """\
#0 building with "default" instance using docker driver

#4 [one 1/4] FROM docker.io/library/base:latest@sha256:1111
#4 DONE 0.0s

#7 [one 3/4] RUN echo the reason;   exit 3
#7 0.168 the reason
#7 ERROR: process "/bin/sh -c echo the reason;   exit 3" did not complete successfully: exit code: 3
------
 > [one 3/4] RUN echo the reason;   exit 3:
0.168 the reason
------
Dockerfile:4
--------------------
   3 |     RUN echo first
   4 | >>> RUN echo the reason; \\
   5 | >>>   exit 3
--------------------
ERROR: failed to solve: process "/bin/sh -c echo the reason;   exit 3" did not complete successfully: exit code: 3
"""


@pytest.mark.parametrize(("text", "code"), [(OLD, "exit code: 3"), (NEW, "exit code: 3")])
def test_a_step_that_failed(text: str, code: str) -> None:
    told, said = _read(text)
    assert (told.image, told.line, told.instruction) == (None, 4, "RUN echo the reason;   exit 3")
    assert (told.error or "").endswith(code)
    assert next(iter(told.last)) == "the reason"
    assert "the reason" in said
    assert not [line for line in said if line.startswith("#") or "internal" in line or "transferring" in line]


def test_steps_are_told_once_with_what_was_cached() -> None:
    _, said = _read(OLD)
    assert said[:4] == [
        "[1/4] FROM docker.io/library/base",
        "[1/4] FROM docker.io/library/base cached",
        "[2/4] RUN echo first",
        "first",
    ]


@pytest.mark.parametrize(
    ("text", "dockerfile", "line", "error"),
    [
        (
            "failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile parse error line 2: unknown instruction: FOO",
            "FROM scratch\nFOO x\n",
            2,
            "unknown instruction: FOO",
        ),
        (
            '#4 [1/1] COPY nope /\n#4 ERROR: "/nope" not found: not found\n------\n > [1/1] COPY nope /:\n------\nERROR: failed to solve: failed to compute cache key: "/nope" not found: not found',
            "FROM scratch\nCOPY nope /\n",
            2,
            '"/nope" not found',
        ),
        (
            '#3 [internal] load metadata for docker.io/library/nosuch:1\n#3 ERROR: failed to do request: Head "https://registry-1.docker.io": no such host\n',
            "ARG V\nFROM nosuch:1\n",
            2,
            "no such host",
        ),
        ("something else altogether\n", "FROM a\n", None, "something else altogether"),
        ("", "FROM a\n", None, "exit code 1"),
    ],
)  # fmt: skip
def test_what_failed_before_or_beside_any_step(text: str, dockerfile: str, line: int | None, error: str) -> None:
    told, _ = _read(text, dockerfile)
    assert error in (told.error or "")
    assert told.line == line


def test_output_of_steps_side_by_side_is_kept_apart() -> None:
    told, _ = _read(
        '#5 [a 1/1] RUN x\n#6 [b 1/1] RUN y\n#5 0.1 of a\n#6 0.1 of b\n#5 0.2 of a\n#6 ERROR: process "y" did not complete\n'
    )
    assert list(told.last) == ["of b"]


def _order(**about: object) -> Order:
    values = {"context": Path("/c"), "listed": [], "left_out": Ignore(), "dockerfile": "Dockerfile", "text": b""}
    values |= {"args": {"V": "1"}, "target": None, "platform": "linux/arm64", "tag": "towpath/fn:1", **about}
    return Order(**values)  # type: ignore[arg-type]


def test_the_command_for_buildx_makes_one_image_without_attestations() -> None:
    builder = Builder("buildkit", "", Client("/d", (28, 0), (0, 13, 1)))
    order = _order(target="t", pull=True, no_cache=True, flags=("--secret=id=a,src=/b",))
    argv = arguments(builder, order, Path("/h"))
    assert argv[:4] == ["/d", "buildx", "build", "--progress=plain"]
    assert argv[-2:] == ["--", "/h/context"]
    wanted = ["--load", "--provenance=false", "--sbom=false", "--platform=linux/arm64", "--target=t", "--build-arg=V=1"]
    assert set(wanted) | {"--pull", "--no-cache", "--secret=id=a,src=/b", "--iidfile=/h/image"} <= set(argv)


def test_an_older_client_is_not_given_what_it_does_not_know() -> None:
    argv = arguments(Builder("buildkit", "", Client("/d", (20, 10), None)), _order(), Path("/h"))
    assert argv[:2] == ["/d", "build"]
    assert not [each for each in argv if each.startswith(("--load", "--provenance", "--sbom", "--metadata"))]

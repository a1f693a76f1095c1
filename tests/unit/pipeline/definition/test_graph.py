from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.definition.graph import ancestors, cycles

if TYPE_CHECKING:
    from unit.pipeline.definition.conftest import Load, Problems

GRAPHS = st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), unique=True)).map(
    lambda graph: {name: [need for need in needs if need in graph] for name, needs in graph.items()}
)


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({}, []),
        ({"a": [], "b": ["a"], "c": ["a", "b"]}, []),
        ({"a": ["a"]}, [["a", "a"]]),
        ({"a": ["b"], "b": ["a"]}, [["a", "b", "a"]]),
        ({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, [["a", "b", "c", "a"]]),
        ({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]}, [["a", "b", "a"], ["c", "d", "c"]]),
    ],
)
def test_cycles(graph: dict[str, list[str]], expected: list[list[str]]) -> None:
    assert cycles(graph) == expected


@given(GRAPHS)
def test_a_cycle_is_a_cycle_and_none_is_missed(graph: dict[str, list[str]]) -> None:
    found = cycles(graph)
    for cycle in found:
        assert cycle[0] == cycle[-1]
        assert all(need in graph[name] for name, need in itertools.pairwise(cycle))
    if not found:
        assert all(name not in needed for name, needed in ancestors(graph).items())


def test_a_long_chain_does_not_end_the_stack() -> None:
    graph = {str(n): [str(n + 1)] for n in range(5000)} | {"5000": []}
    assert cycles(graph) == []
    assert len(ancestors(graph)["0"]) == 5000


def test_a_dense_graph_takes_no_time_and_tells_ten_cycles() -> None:
    names = [str(n) for n in range(200)]
    assert len(cycles(dict.fromkeys(names, names))) == 10


# Where inputs come from

ENVIRONMENTS = """
environments:
  r: {account: "111122223333", region: eu-central-1, repository: demo}
  s: {account: "111122223333", region: eu-central-1, stack: demo-s, approvals: none}
  p: {account: "111122223333", region: eu-central-1, stack: demo-p, approvals: none}
"""
TEXT = f"""{ENVIRONMENTS}
stages:
  build: {{uses: build, with: {{template: t}}}}
  package: {{uses: package, needs: [build], environment: r}}
  deploy-s: {{uses: deploy, needs: [package], environment: s}}
  deploy-p: {{uses: deploy, needs: [deploy-s], environment: p}}
  smoke: {{uses: invoke, needs: [deploy-p], environment: p, inputs: {{deployment: deploy-p}}, with: {{requests: r}}}}
"""


def test_an_input_comes_from_near_or_far_or_as_is_said(load: Load) -> None:
    assert load(TEXT).wiring == {
        "build": {},
        "package": {"images": "build"},
        "deploy-s": {"release": "package"},
        "deploy-p": {"release": "package"},
        "smoke": {"deployment": "deploy-p"},
    }


def test_artifacts_of_commands_are_wired_by_their_names(load: Load) -> None:
    loaded = load("""
stages:
  make: {uses: command, with: {run: [x], outputs: [site, docs]}}
  check: {uses: command, needs: [make], with: {run: [x], inputs: [site]}}
""")
    assert loaded.wiring == {"make": {}, "check": {"site": "make"}}


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        ("deployment: deploy-x", "there is no stage 'deploy-x'", "Did you mean 'deploy-s'?"),
        (
            "deployment: package",
            "'package' does not output 'deployment'",
            "The stages that do are: deploy-p, deploy-s.",
        ),
        (
            "deployment: smoke-2",
            "'smoke' takes 'deployment' from 'smoke-2', which it does not need",
            "Add 'smoke-2' to its needs.",
        ),
        ("deploymet: deploy-p, deployment: deploy-p", "'smoke' has no input 'deploymet'", "Did you mean 'deployment'?"),
    ],
)
def test_an_input_that_is_settled_wrongly(problems: Problems, said: str, message: str, hint: str) -> None:
    text = TEXT.replace("deployment: deploy-p", said)
    if "smoke-2" in said:
        text += "  smoke-2: {uses: command, with: {run: [x], outputs: [deployment]}}\n"
    [problem] = problems(text)
    assert (problem.message, problem.hint) == (message, hint)


def test_a_stage_that_takes_nothing_has_no_inputs_to_settle(problems: Problems) -> None:
    [problem] = problems("stages: {b: {uses: build, with: {template: t}, inputs: {x: y}}}\n")
    assert (problem.message, problem.hint) == ("'b' has no input 'x'", "build takes no inputs.")


def test_a_need_that_is_named_twice(problems: Problems) -> None:
    [problem] = problems(TEXT.replace("needs: [package]", "needs: [package, package]"))
    assert problem.message == "'package' is named twice"


def test_a_mistake_is_told_and_not_what_follows_from_it(problems: Problems) -> None:
    """Without `package`, nothing outputs a release: that is not another mistake."""
    [problem] = problems(TEXT.replace("uses: package", "uses: pakcage"))
    assert problem.message == "'pakcage' is no kind of stage"


def test_an_input_that_nothing_anywhere_outputs_names_the_kind(problems: Problems) -> None:
    [problem] = problems(f"{ENVIRONMENTS}\nstages: {{d: {{uses: deploy, environment: s}}}}\n")
    assert problem.hint == "Add a stage that uses package, and name it in its needs."


# A stage that takes one of several artifacts

SCANS = f"""{ENVIRONMENTS}
stages:
  build: {{uses: build, with: {{template: t}}}}
  package: {{uses: package, needs: [build], environment: r}}
  scan: {{uses: scan, needs: [NEEDS], with: {{advisories: a}}MORE}}
"""


def scans(needs: str, more: str = "") -> str:
    return SCANS.replace("NEEDS", needs).replace("MORE", more)


@pytest.mark.parametrize(
    ("needs", "more", "wired"),
    [
        ("build", "", {"images": "build"}),
        ("package", ", environment: r", {"release": "package"}),
        ("build, package", ", inputs: {images: build}", {"images": "build"}),
        ("build, package", ", environment: r, inputs: {release: package}", {"release": "package"}),
        ("package", ", inputs: {images: build}", {"images": "build"}),
    ],
)
def test_what_its_own_needs_give_decides(load: Load, needs: str, more: str, wired: dict[str, str]) -> None:
    """`package` has images behind it, but gives a release: who needs it alone means that."""
    assert load(scans(needs, more)).wiring["scan"] == wired


COPIES = f"""{ENVIRONMENTS}
stages:
  build: {{uses: build, with: {{template: t}}}}
  look: {{uses: command, needs: [build], with: {{run: [x]}}}}
  package: {{uses: package, needs: [look], environment: r}}
  after: {{uses: command, needs: [package], with: {{run: [x]}}}}
  copy: {{uses: package, needs: [NEEDS], environment: r}}
"""


def test_what_is_far_is_taken_where_it_is_the_only_one(load: Load, problems: Problems) -> None:
    wiring = load(COPIES.replace("NEEDS", "package")).wiring
    assert wiring["package"] == {"images": "build"}
    assert wiring["copy"] == {"release": "package"}
    [problem] = problems(COPIES.replace("NEEDS", "after"))
    assert problem.message == "no stage that 'copy' itself needs outputs 'images' or 'release'"


@pytest.mark.parametrize(
    ("needs", "more", "message", "hint"),
    [
        (
            "build, package",
            "",
            "'scan' could take 'images' from 'build' or 'release' from 'package', and takes one of them",
            "Say which: inputs: {release: package}",
        ),
        ("", "", "no stage that 'scan' itself needs outputs 'images' or 'release'", "Add 'build' to its needs."),
        (
            "build, package",
            ", inputs: {images: build, release: package}",
            "'scan' takes images or release, not both",
            "Remove one of them.",
        ),
        (
            "build",
            ", inputs: {release: build}",
            "'build' does not output 'release'",
            "There are no stages that do.",
        ),
        ("build", ", inputs: {image: build}", "'scan' has no input 'image'", "Did you mean 'images'?"),
        (
            "package",
            "",
            "'scan' lacks an environment: it reads the release of 'package' from a registry",
            "Write: environment: r",
        ),
    ],
)
def test_what_cannot_be_settled(problems: Problems, needs: str, more: str, message: str, hint: str) -> None:
    [problem] = problems(scans(needs, more))
    assert (problem.message, problem.hint) == (message, hint)
    assert problem.line == 12

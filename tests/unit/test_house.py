"""Checks on the tree itself: what a reader trips over, and no other tool looks for."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import pipeline

ROOT = Path(__file__).parents[2]


def _tracked() -> list[Path]:
    command = ["git", "ls-files", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


FILES = _tracked()
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
"""Every tracked file. Reading them is the first check: all of them are UTF-8."""


def _found(pattern: str, names: str = "", but: str = "$^") -> list[str]:
    """Say where a pattern stands in the files whose names match `names` and not `but`, as file:line."""
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in TEXTS.items()
        if re.search(names, name) and not re.search(but, name)
        for number, line in enumerate(text.split("\n"), 1)
        if re.search(pattern, line)
    ]


def test_nothing_is_left_unfinished() -> None:
    assert _found(r"\b(TODO|FIXME|XXX|HACK)\b", but=r"test_house\.py$|\.lock$|package-lock\.json$") == []


def test_no_path_of_one_machine() -> None:
    assert _found(r"(?<![\w.$}/])/(home/(?!runner\b)\w+|root|Users|work)/", but=r"\.lock$") == []


def test_every_suppression_gives_its_reason() -> None:
    assert _found(r"#\s*noqa(?!: [A-Z]+[0-9]+(, [A-Z]+[0-9]+)* - \w)", r"\.py$", r"^tests/") == []
    assert _found(r"#\s*type: ignore(?!\[[\w, -]+\] +# \w)", r"\.py$", r"^tests/") == []
    assert _found(r"shellcheck disable=SC\d+\b(?! # \w)", r"^(scripts|\.ci)/") == []


def test_lines_end_as_they_should() -> None:
    assert _found(r"[ \t\r]$", but=r"^LICENSE$|^tests/") == []
    assert [name for name, text in TEXTS.items() if text and not text.endswith("\n") and "tests/" not in name] == []


def test_programs_can_be_run_and_others_not() -> None:
    programs = {name for name, text in TEXTS.items() if text.startswith("#!")}
    executable = {name for name in TEXTS if os.access(ROOT / name, os.X_OK)}
    assert executable == programs


@pytest.mark.parametrize("page", sorted(name for name in TEXTS if name.endswith(".md")))
def test_links_between_pages_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", TEXTS[page])
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_pages_name_only_acts_that_the_makefile_has() -> None:
    acts = set(re.findall(r"^([a-z-]+):", TEXTS["Makefile"], re.MULTILINE))
    named = {
        (page, act)
        for page, text in TEXTS.items()
        if page.endswith(".md")
        for act in re.findall(r"(?:`|^\s*|\$ )make ([a-z-]+)", text, re.MULTILINE)
    }
    assert {(page, act) for page, act in named if act not in acts} == set()


def test_the_change_log_speaks_of_this_version() -> None:
    assert f"## [{pipeline.__version__}]" in TEXTS["CHANGELOG.md"]


def _normal(name: str) -> str:
    """Write a distribution's name as PEP 503 does."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_locks_pin_every_dependency(lock: str) -> None:
    project = tomllib.loads(TEXTS["pyproject.toml"])
    wanted = [*project["project"]["dependencies"]]
    if "dev" in lock:
        wanted += project["dependency-groups"]["dev"]
    names = {_normal(re.split(r"[\[<>=~! ]", each)[0]) for each in wanted}
    locked = {_normal(name) for name in re.findall(r"^([\w.-]+)==", TEXTS[lock], re.MULTILINE)}
    assert names - locked == set()


def test_folders_of_unit_tests_mirror_the_packages() -> None:
    folders = {Path(name).parent.relative_to("tests/unit") for name in TEXTS if re.match(r"tests/unit/.*\.py$", name)}
    assert sorted(str(folder) for folder in folders if not (ROOT / folder).is_dir()) == []


def test_actions_of_others_are_pinned_by_commit() -> None:
    assert _found(r"uses: (?!\./)(?!\S+@[0-9a-f]{40} # v)", r"^\.github/.*\.ya?ml$") == []


def test_every_page_can_be_reached_from_the_index() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        links = re.findall(r"\]\(([^):#\s]+\.md)", page.read_text(encoding="utf-8"))
        waiting += [target for link in links if (target := (page.parent / link).resolve()) not in reached]
    pages = {ROOT / name for name in TEXTS if re.match(r"docs/.*\.md$", name)}
    assert sorted(str(page.relative_to(ROOT)) for page in pages - reached) == []

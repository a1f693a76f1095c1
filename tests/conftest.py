"""For every test: a project with a store, and cheap tests run first."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from chaos import tally
from hypothesis import settings
from support.plans import House

from pipeline.record.store.directory import open_store

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

settings.register_profile("no-deadline", deadline=None)  # how busy the machine is says nothing of what is tested
settings.load_profile("no-deadline")

HERE = Path(__file__).parent


CI_SYSTEMS = ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "JENKINS_URL", "JENKINS_HOME", "CODEBUILD_BUILD_ID")


@pytest.fixture(autouse=True, scope="session")
def _no_ci_system() -> None:
    """Commands that tests run tell of themselves as they do anywhere, also where a CI system runs the tests."""
    for name in CI_SYSTEMS:
        os.environ.pop(name, None)


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """Ctrl-C and a closed terminal reach what tests start, also where whoever runs them in the background has them ignored, which programs inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="session")
def _own_configuration(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Runners that tests start make their key here, and not in the home of whoever runs the tests."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A project with an empty store."""
    project = tmp_path / "project"
    project.mkdir()
    return House(project, open_store(tmp_path / "store", create=True))


COST = {"unit": 0, "integration": 1, "e2e": 3}
"""Folders by what their tests cost; others stand between integration and e2e."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by cost, after the order was made random; within a folder it stays random."""
    items.sort(key=lambda item: COST.get(item.path.relative_to(HERE).parts[0], 2))


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Say how many fault points there are, and how many of them were driven."""
    reports = (each for some in terminalreporter.stats.values() for each in some if isinstance(each, pytest.TestReport))
    lines = tally.summary(each for report in reports if report.when == "call" for each in report.user_properties)
    if lines:
        terminalreporter.section(f"fault points (CHAOS_TURN={tally.TURN})")
        for line in lines:
            terminalreporter.write_line(line)

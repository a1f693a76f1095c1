"""A runner killed at every write and every call of its own, and followed by another: it ends as if nothing had been."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from chaos import gated, runner, tally
from chaos.gated import HALVES, STEPS, Gated, Recovery
from chaos.tally import TURN

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.runner import Done, Runners
    from chaos.tally import Record

pytestmark = pytest.mark.slow
DOUBLE_KILLS = 40


@dataclass
class Undisturbed:
    """A run without a fault: what it was before each step, what each passed, and how it ended."""

    project: Gated
    snapshots: list[Path]
    said: list[Done]
    state: dict[str, Any]

    def drive(self, step: int, point: str, kills: list[int] | None = None, *, orphans: bool = False) -> list[str]:
        """Kill a step at a point, go on, and give what does not hold then."""
        one = self.project
        runner.restore(self.snapshots[step], one.project)
        slow = one.project / f"slow-{point.removeprefix('after starting RUN-').partition('-')[0]}"
        if orphans:
            slow.touch()
        killed = one.run(*one.steps[step], kill_at=point, orphans=orphans)
        if not killed.killed:
            return [f"{point} was not passed: {killed}"]
        if orphans:
            slow.unlink()
        kept = runner.objects(one.project)
        try:
            recovery = one.recover(step, kills or [])
        except AssertionError as error:
            return [f"{point}: {error}"]
        if kills:
            recovery.approved_again = False  # the first command of the recovery may have died before it said so
        return [f"{point}: {each}" for each in gated.problems(one, recovery, killed, kept, self.state)]


def undisturbed(runners: Runners, folder: Path, steps: tuple[tuple[str, ...], ...]) -> Undisturbed:
    one = Gated(runners, gated.make(folder), runners.enrol(), steps)
    snapshots, said = [], []
    for number, argv in enumerate(steps):
        snapshots.append(folder / f"before-{number}")
        shutil.copytree(one.project, snapshots[-1])
        said.append(one.run(*argv))
        assert said[-1].status == (75 if argv == ("run",) else 0), said[-1]
    if steps is HALVES:
        done = one.run("resume")
        assert done.status == 0, done
    state = one.state()
    assert state["state"] == "succeeded"
    assert state["ledger"] == ["chain.opened", "target.enrolled", "deployment.intended", "deployment.finished"]
    assert not gated.problems(one, Recovery(), said[-1], {}, state)
    return Undisturbed(one, snapshots, said, state)


@pytest.fixture(scope="module")
def typed(runners: Runners, workshop: Path) -> Undisturbed:
    return undisturbed(runners, workshop / "typed", STEPS)


@pytest.fixture(scope="module")
def halves(runners: Runners, workshop: Path) -> Undisturbed:
    return undisturbed(runners, workshop / "halves", HALVES)


@pytest.mark.parametrize("step", range(len(STEPS)), ids=["run", "approve", "approve-again", "resume"])
def test_killed_at_every_point(typed: Undisturbed, record_property: Record, step: int) -> None:
    points = typed.said[step].points
    found = [each for point in points for each in typed.drive(step, point)]
    tally.add(record_property, "runner, small pipeline: writes, processes, signing", len(points), len(points))
    assert not found, "\n".join(found)


def test_killed_in_stage_apply(halves: Undisturbed, record_property: Record) -> None:
    last = len(HALVES) - 1
    points = halves.said[last].points
    found = [each for point in points for each in halves.drive(last, point)]
    tally.add(record_property, "runner, small pipeline: `stage apply`", len(points), len(points))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("step", [0, len(STEPS) - 1], ids=["run", "resume"])
def test_killed_while_the_process_of_a_stage_lives_on(typed: Undisturbed, record_property: Record, step: int) -> None:
    """Where nothing ends it with its runner, who takes over does, and only then begins."""
    points = [point for point in typed.said[step].points if point.startswith("after starting")]
    found = [each for point in points for each in typed.drive(step, point, orphans=True)]
    tally.add(record_property, "runner, small pipeline: a stage's process lives on", len(points), len(points))
    assert not found, "\n".join(found)


def test_killed_again_while_recovering(typed: Undisturbed, record_property: Record) -> None:
    """Two more kills, at points of the commands that go on; others every day."""
    every = [(step, point) for step, done in enumerate(typed.said) for point in done.points]
    chance, found = random.Random(TURN), []  # noqa: S311 - it only has to be another each day
    for step, point in chance.sample(every, DOUBLE_KILLS):
        kills = [chance.randint(1, 60), chance.randint(1, 60)]
        found += [f"step {step}, then after {kills}: {each}" for each in typed.drive(step, point, kills)]
    tally.add(record_property, "runner, small pipeline: three kills, a sample", DOUBLE_KILLS, DOUBLE_KILLS)
    assert not found, "\n".join(found)

"""logs --follow, by the command, beside a runner of its own."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.machine import TOWPATH
from support.plans import command, run_process, runner_argv

if TYPE_CHECKING:
    from support.plans import House


def follow(house: House, *arguments: str) -> list[str]:
    return [TOWPATH, "logs", *arguments, "--follow", "--store", str(house.store.root)]


def test_following_a_run_until_it_is_over(house: House) -> None:
    run_id = house.open(
        command("one", "echo first; sleep 6; echo second"), command("two", "echo third", needs=("one",))
    )
    with subprocess.Popen(runner_argv(house, run_id)) as runner:
        done = subprocess.run(follow(house, run_id, "--json"), capture_output=True, text=True, check=True, timeout=60)
        assert runner.wait(5) == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["stage"], line["text"]) for line in lines] == [
        ("one", "first"),
        ("one", "second"),
        ("two", "third"),
    ]


@pytest.mark.parametrize(("arguments", "said"), [((), ["a1", "b1"]), (("b",), ["b1"]), (("a", "--attempt", "2"), [])])
def test_following_what_is_over_prints_it_and_ends(house: House, arguments: tuple[str, ...], said: list[str]) -> None:
    run_id = house.open(command("a", "echo a1"), command("b", "echo b1", needs=("a",)))
    assert run_process(house, run_id).returncode == 0
    done = subprocess.run(follow(house, run_id, *arguments), capture_output=True, text=True, check=True, timeout=30)
    assert [line.split()[-1] for line in done.stdout.splitlines()] == said


def test_a_stage_that_the_run_does_not_have(house: House) -> None:
    run_id = house.open(command("a", "true"))
    done = subprocess.run(follow(house, run_id, "b"), capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "It has: a." in done.stderr

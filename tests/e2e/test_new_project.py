"""A new project goes from nothing to a deployment, with the images of this machine: in Python, then with a function in Node.js."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from support.machine import ROOT, Machine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def nodejs_image(base_image: str) -> str:
    """The base image for Node.js, which is built upon the one for Python."""
    argv = [str(ROOT / "scripts/base-image"), "nodejs"]
    done = subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    return str(done.stdout).strip()


def test_from_nothing_to_a_deployment(
    tmp_path: Path, embedded: dict[str, str], base_image: str, nodejs_image: str
) -> None:
    machine = Machine(tmp_path / "shop", embedded)
    Machine(tmp_path).towpath(
        "init",
        "--no-input",
        "--name",
        "shop",
        "--environment",
        "live",
        "--base-image",
        base_image,
        "--account",
        "live=100000000007",
    )
    machine.towpath("init", "function", "say-bye", "--runtime", "nodejs", "--base-image", nodejs_image)
    assert machine.json("validate")["warnings"] == []
    machine.towpath("run")
    state = machine.json("status", "latest")
    assert {name: each["state"] for name, each in state["stages"].items()} == dict.fromkeys(
        ("build", "scan", "package", "deploy-live", "smoke-live"), "succeeded"
    )
    for file, function in (("hello/app.py", "HelloFunction"), ("say-bye/app.mjs", "SayByeFunction")):
        code = machine.project / "functions" / file
        right = code.read_text()
        code.write_text(right.replace("hello, ", "bye, "))
        with machine.popen("build") as process:  # the unit tests fail, and so does the build
            _, said = process.communicate(timeout=60)
        assert (process.returncode, function in said) == (1, True)
        code.write_text(right)

"""`towpath init` as it is typed: on a terminal it asks, without one it never does."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import pty
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from support.machine import TOWPATH, Machine

if TYPE_CHECKING:
    from pathlib import Path

ALL = (
    "--name",
    "shop",
    "--runtime",
    "go",
    "--function",
    "f",
    "--no-api",
    "--architecture",
    "arm64",
    "--ci",
    "none",
    "--environment",
    "live",
)


def typed(folder: Path, answers: str, *arguments: str) -> tuple[int, str]:
    """Run it on a terminal, type the answers, and give its exit code and all that was shown."""
    ours, theirs = pty.openpty()
    argv = [TOWPATH, "init", *arguments]
    terminal = (
        "import os, signal, sys; os.login_tty(int(sys.argv[1])); signal.signal(signal.SIGINT, signal.SIG_DFL); "
        "os.execv(sys.argv[2], sys.argv[2:])"
    )
    argv = [sys.executable, "-c", terminal, str(theirs), *argv]
    with subprocess.Popen(argv, cwd=folder, pass_fds=[theirs], start_new_session=True) as process:
        os.close(theirs)
        shown, told, end = b"", False, time.monotonic() + 20
        with contextlib.suppress(OSError):  # what Linux says when the other end is closed
            while time.monotonic() < end:
                if select.select([ours], [], [], 0.2)[0]:
                    shown += os.read(ours, 65_536)
                elif shown and not told:  # the first question: whoever types before it may not be heard
                    told = os.write(ours, answers.encode()) > 0
        os.close(ours)  # whoever still reads from it gets an end
        process.wait(20)
    return process.returncode, shown.decode()


def test_a_terminal_is_asked_and_may_take_every_default(tmp_path: Path) -> None:
    code, shown = typed(tmp_path, "\n" * 7)
    assert code == 0, shown
    assert "Name [my-app]" in shown
    assert "Environments, in order [staging production]" in shown
    assert (tmp_path / "my-app/functions/hello/app.py").exists()
    assert "deploy-production" in (tmp_path / "my-app/pipeline.yaml").read_text()


def test_an_answer_that_will_not_do_is_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").touch()
    code, shown = typed(tmp_path, "My Shop\ntaken\nshop\ncobol\nrust\na, b\nn\narm64\ngithub\nbuild\nlive\n")
    assert code == 0, shown
    assert "'My Shop' is not a project's name" in shown
    assert "taken/file: the folder is not empty" in shown
    assert "'cobol' is not one of" in shown
    assert "--environment build: that name is taken" in shown
    project = tmp_path / "shop"
    assert sorted(each.name for each in (project / "functions").iterdir()) == ["a", "b"]
    assert (project / "functions/a/Cargo.toml").exists()
    assert "Api" not in (project / "template.yaml").read_text()
    assert "[arm64]" in (project / "template.yaml").read_text()
    assert "stage apply deploy-live" in (project / ".github/workflows/deploy.yml").read_text()


def test_what_is_given_is_not_asked_for(tmp_path: Path) -> None:
    code, shown = typed(tmp_path, "", *ALL)
    assert code == 0, shown
    assert "[" not in shown.replace("shop/", "")


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    code, _ = typed(tmp_path, "\x03")
    assert code == 130
    assert list(tmp_path.iterdir()) == []


def test_a_name_as_a_word_is_told_as_an_option(tmp_path: Path) -> None:
    assert "towpath init --name shop" in Machine(tmp_path).towpath("init", "shop", code=2).stderr


def test_without_a_terminal_each_flag_that_is_missing_is_named(tmp_path: Path) -> None:
    done = Machine(tmp_path).towpath("init", "--runtime", "python", "--ci", "none", code=2)
    assert "not asked: --name, --function, --api or --no-api, --architecture, --environment" in done.stderr
    assert "--no-input" in done.stderr
    assert list(tmp_path.iterdir()) == []
    told = Machine(tmp_path).json("init", *ALL)
    assert (tmp_path / "shop/functions/f/main.go").exists()
    assert bool(told["notes"]) == (platform.machine() not in {"aarch64", "arm64"})


def test_no_input_has_a_default_for_all_and_the_folders_name(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    told = machine.json("init", "--no-input", "--project", "corner-shop")
    assert told["project"] == str(tmp_path / "corner-shop")
    assert "pipeline.yaml" in told["files"]
    assert "name: corner-shop\n" in (tmp_path / "corner-shop/pipeline.yaml").read_text()
    machine.towpath("validate", "--project", "corner-shop")
    refused = machine.towpath("init", "--no-input", "--project", "corner-shop", "--json", code=2)
    assert json.loads(refused.stderr)["where"] == "corner-shop/.gitignore"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may take the network away")
def test_nothing_is_fetched(tmp_path: Path) -> None:
    machine = Machine(tmp_path, inside=["unshare", "--net"])
    machine.towpath("init", "--no-input", "--name", "shop", "--ci", "gitlab")
    machine.towpath("init", "function", "more", "--project", "shop")
    machine.towpath("validate", "--project", "shop")


def test_a_function_more(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.towpath("init", *ALL, "--project", ".")
    machine.towpath("init", "function", "again")
    machine.towpath("init", "function", "other", "--runtime", "python", "--api")
    machine.towpath("validate")
    assert (tmp_path / "functions/again/go.mod").exists()
    assert "OtherUrl" in (tmp_path / "template.yaml").read_text()
    assert "AgainUrl" not in (tmp_path / "template.yaml").read_text()
    assert "already" in machine.towpath("init", "function", "again", "--runtime", "go", code=2).stderr
    assert "--region stands before function" in machine.towpath("init", "--region", "x", "function", "y", code=2).stderr
    (tmp_path / "pipeline.yaml").unlink()
    assert "there is no file 'pipeline.yaml'" in machine.towpath("init", "function", "z", code=2).stderr

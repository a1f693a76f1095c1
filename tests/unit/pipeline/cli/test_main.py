from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.cli.main import COMMANDS

HEAVY = ("boto3", "botocore", "docker", "pydantic", "rich", "yaml", "yaml_include", "urllib3", "cryptography")


def test_help_waits_for_nothing_heavy() -> None:
    code = "import sys; sys.argv=['towpath','--help']; from pipeline.cli.main import main\ntry: main()\nexcept SystemExit: pass\n"
    code += f"print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", command, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: towpath {command}")


def test_a_mistake_names_the_help_of_the_command_that_was_typed() -> None:
    argv = [sys.executable, "-m", "pipeline.cli", "environments", "bootstrap", "x", "--nope"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "See: towpath environments bootstrap --help" in done.stderr


def test_a_fault_of_ours_is_a_report_and_not_a_traceback() -> None:
    code = (
        "import sys; sys.argv=['towpath','plan']; from pipeline.cli import main\n"
        "main.COMMANDS['plan']=('nothing','')\nmain.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    report = done.stderr.split("attach to an issue: ")[1].strip()
    with open(report, encoding="utf-8") as file:  # noqa: PTH123 - a name out of a message
        assert "No module named 'pipeline.cli.nothing'" in file.read()


def test_a_command_that_is_done_ends_at_once_with_all_that_it_said() -> None:
    code = (
        "import atexit, sys; from pipeline.cli import main; from pipeline.errors import Done\n"
        "def done():\n    print('said'); raise Done(5)\n"
        "atexit.register(print, 'taken apart'); main._main = done; main.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (5, "said\n", "")


def test_a_reader_that_goes_away_is_no_failed_stage() -> None:
    argv = [sys.executable, "-m", "pipeline.cli", "schema"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdout
        assert command.stderr
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 141


def test_a_parameter_that_is_no_text_is_a_mistake() -> None:
    argv: list[str | bytes] = [sys.executable, "-m", "pipeline.cli", "plan", "-p", b"x=\xff"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not UTF-8" in done.stderr


def test_ctrl_c_while_it_loads_leaves_no_traceback() -> None:
    code = (
        "import builtins\nload = builtins.__import__\n"
        "def interrupted(name, *more):\n"
        "    if name == 'click': raise KeyboardInterrupt\n"
        "    return load(name, *more)\n"
        "builtins.__import__ = interrupted\n"
        "from pipeline.cli.__main__ import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")

"""Whose containers may be removed: those of processes that are known to have ended, and of no others."""

from __future__ import annotations

import subprocess
import sys

from stages.local import owners


def label_of(pid: int) -> str:
    boot, namespace, _, _ = owners.label()[owners.LABEL].split("/")
    return f"{boot}/{namespace}/{pid}/{owners._started(pid)}"


def test_a_process_that_lives_keeps_its_containers() -> None:
    assert not owners.abandoned(owners.label()[owners.LABEL])


def test_one_that_has_ended_does_not_though_its_number_is_taken_again() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        label = label_of(process.pid)
        assert not owners.abandoned(label)
        process.kill()
    assert owners.abandoned(label)
    *here, pid, _ = owners.label()[owners.LABEL].split("/")
    assert owners.abandoned("/".join((*here, pid, "1"))), "the same number, started at another time"


def test_of_another_boot_or_namespace_nothing_is_known() -> None:
    _, namespace, pid, _ = owners.label()[owners.LABEL].split("/")
    boot = owners.label()[owners.LABEL].split("/")[0]
    assert not owners.abandoned(f"other/{namespace}/{pid}/1")
    assert not owners.abandoned(f"{boot}/pid:[1]/{pid}/1")
    assert not owners.abandoned("what nobody wrote")

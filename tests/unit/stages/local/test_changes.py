"""Whether anything of an application's source was touched since it was built."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from stages.local import changes, functions

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Fn:
    Type: AWS::Serverless::Function
    Properties: {PackageType: Image}
    Metadata: {Dockerfile: Dockerfile, DockerContext: src}
"""


def touched(project: Path, since: float) -> bool:
    application = functions.load(project, "template.yaml", functions.Place("eu-west-1"))
    return changes.touched(project, application, since)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / "deep" / "file").write_text("x")
    (tmp_path / "src" / "Dockerfile").write_text("FROM scratch")
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    return tmp_path


def test_what_was_not_touched(project: Path) -> None:
    (project / "elsewhere").write_text("x")
    assert touched(project, time.time() - 60)
    assert not touched(project, time.time() + 1)


@pytest.mark.parametrize("act", ["write", "write with an old time", "add", "remove", "template", "replace"])
def test_what_was(project: Path, act: str) -> None:
    time.sleep(0.02)  # the kernel's clock for files is a coarse one
    now = time.time()
    time.sleep(0.02)
    file = project / "src" / "deep" / "file"
    if act.startswith("write"):
        file.write_text("y")
        if act != "write":
            os.utime(file, (0, 0))
    elif act == "add":
        (project / "src" / "deep" / "new").write_text("")
    elif act == "remove":
        file.unlink()
    elif act == "template":
        (project / "template.yaml").write_text(TEMPLATE + "# more")
    else:
        file.rename(project / "src" / "other")
    assert touched(project, now)

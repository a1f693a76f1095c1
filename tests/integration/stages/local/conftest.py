"""Projects whose functions are of an image that is in the engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


TOWPATH = str(Path(sys.executable).parent / "towpath")


class Project:
    """A project whose functions are of images that are there; `towpath local` as people type it."""

    def __init__(self, folder: Path, image: str) -> None:
        self.folder, self.image = folder, image

    def write(self, more: str = "", head: str = "", **properties: Any) -> None:
        """A template with one function, `Hello`; `more` are further lines of its Properties."""
        written = "".join(f"      {name}: {json.dumps(value)}\n" for name, value in properties.items())
        (self.folder / "template.yaml").write_text(
            f"Transform: AWS::Serverless-2016-10-31\n{head}Resources:\n  Hello:\n    Type: AWS::Serverless::Function\n"
            f"    Properties:\n      PackageType: Image\n      ImageUri: {self.image}\n{written}{more}"
        )

    def local(self, *arguments: str, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `towpath local` to its end."""
        return self.towpath("local", *arguments, given=given, **variables)

    def towpath(self, *arguments: str, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [TOWPATH, *arguments],
            cwd=self.folder,
            input=given,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def invoke(self, do: str = "hello", *arguments: str, **event: Any) -> subprocess.CompletedProcess[str]:
        return self.local("invoke", "--event", "-", *arguments, given=json.dumps({"do": do, **event}))

    @contextmanager
    def begun(self, do: str, *arguments: str, **event: Any) -> Iterator[subprocess.Popen[str]]:
        """An invocation whose function is at work."""
        (self.folder / "event.json").write_text(json.dumps({"do": do, **event}))
        command = [TOWPATH, "local", "invoke", "--event", "event.json", *arguments]
        with subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr
            while "handling" not in (line := process.stderr.readline()):
                assert line, "it ended"
            yield process

    @contextmanager
    def serve(self, command: str, *arguments: str) -> Iterator[Served]:
        """Serve as long as the context is entered, at a free port."""
        log = self.folder / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [TOWPATH, "local", command, "--port", "0", *arguments], cwd=self.folder, stderr=stream
            )
        try:
            served = Served(process, log)
            served.wait_for("Ctrl-C ends it")
            yield served
        finally:
            process.terminate()
            code = process.wait(20)
        assert code == 0, log.read_text()


@dataclass
class Served:
    process: subprocess.Popen[bytes]
    log: Path

    def wait_for(self, text: str, times: int = 1) -> str:
        """The log, once it holds the text."""
        deadline = time.monotonic() + 30
        while self.log.read_text().count(text) < times:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        return self.log.read_text()

    def urls(self) -> list[str]:
        return re.findall(r"http://[0-9.:]+", self.log.read_text())


@pytest.fixture
def project(tmp_path: Path, function_image: str) -> Project:
    made = Project(tmp_path, function_image)
    made.write(Timeout=5, MemorySize=256)
    return made

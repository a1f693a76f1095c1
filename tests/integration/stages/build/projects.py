"""Projects to build. Their images are from scratch, or hold this machine's own shell, so nothing is pulled."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docker.errors import APIError

from stages import build
from stages.contract import Request
from stages.images import engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from docker import APIClient

SHELL = ("/bin/sh", "/bin/sleep", "/bin/cat")


@dataclass
class Project:
    """A work directory with a source in it; `functions` maps an id to the lines of its Metadata."""

    work: Path
    mark: str
    built: list[str]
    builder: str = "auto"

    @property
    def source(self) -> Path:
        return self.work / "source"

    def write(self, name: str, text: str) -> None:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def write_template(self, functions: dict[str, str]) -> None:
        lines = ["Resources:"]
        for name, metadata in functions.items():
            lines += [
                f"  {name}:",
                "    Type: AWS::Serverless::Function",
                "    Properties: {PackageType: Image}",
                f"    Metadata: {{{metadata}}}",
            ]
        self.write("template.yaml", "\n".join(lines) + "\n")

    def write_scratch(self, folder: str, content: str) -> None:
        """A context whose image holds one file. The mark keeps images of different tests apart."""
        self.write(f"{folder}/Dockerfile", "FROM scratch\nARG V=0\nCOPY code mark /\n")
        self.write(f"{folder}/code", content)
        self.write(f"{folder}/mark", self.mark)

    def write_shell(self, folder: str, *instructions: str) -> None:
        """A context whose image can run a shell."""
        self.write(f"{folder}/Dockerfile", "\n".join(["FROM scratch", "COPY . /", *instructions]) + "\n")
        self.write(f"{folder}/mark", self.mark)
        for program in SHELL:
            copy_program(program, self.source / folder)

    def build(self, **options: Any) -> dict[str, Any]:
        """Build as if for the first time, and return the functions of images.json."""
        return self._build(self.request("apply", **options))

    def build_again(self, **options: Any) -> dict[str, Any]:
        """Build with what the last build handed on, and the digests it kept, as the runner gives them."""
        shutil.rmtree(self.work / "previous", ignore_errors=True)
        shutil.copytree(self.work / "outputs", self.work / "previous")
        request = replace(
            self.request("apply", **options), previous={"images": "previous/images"}, cache=str(self.work / "cache")
        )
        return self._build(request)

    def _build(self, request: Request) -> dict[str, Any]:
        shutil.rmtree(self.work / "outputs", ignore_errors=True)
        build.apply(request, self.work)
        document: dict[str, Any] = json.loads((self.work / "outputs" / "images" / "images.json").read_text())
        self.built += [each["config"] for each in document["functions"].values()]
        return dict(document["functions"])

    def request(self, phase: Any = "check", secrets: list[str] | None = None, **options: Any) -> Request:
        given = {"template": "template.yaml", "builder": self.builder, **options}
        return Request("build", phase, "run-build-1", given, source="source", secrets=secrets or [])


def copy_program(program: str, root: Path) -> None:
    """Copy a program with the libraries it needs."""
    needed = subprocess.run(["/usr/bin/ldd", program], capture_output=True, text=True, check=True).stdout
    for name in [program, *re.findall(r"(/\S+) \(0x", needed)]:
        target = root / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(name).resolve(), target)


@contextmanager
def projects(folder: Path, client: APIClient, builder: str = "auto") -> Iterator[Callable[..., Project]]:
    """Give a maker of projects, built by this builder. The images built from them are removed at the end."""
    mark = uuid.uuid4().hex
    built: list[str] = []

    def make(name: str = "one") -> Project:
        project = Project(folder / name, mark, built, builder)
        project.source.mkdir(parents=True)
        return project

    yield make
    left = list(dict.fromkeys(reversed(built)))
    while left:  # what was built upon another goes first, whichever that is
        before, left = left, [image for image in left if not _removed(client, image)]
        assert left != before, f"images are left: {left}"


def _removed(client: APIClient, image: str) -> bool:
    try:
        if engine.find(client, image):
            client.remove_image(image, force=True)
    except APIError:
        return False
    return True

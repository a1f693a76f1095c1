"""BuildKit, by a docker client: `docker buildx build`, or an older client's `docker build` with DOCKER_BUILDKIT=1.

The client is given a copy of the Dockerfile and of what `.dockerignore` lets through: just what the source hash is of. Left to
itself it would take the context while people edit it, leave out what its version reads in `.dockerignore`, and have BuildKit
take the old content of a file that was changed without another size or time (see `stages.images.context.stage`).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import threading
from collections import deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.build.order import LABELS, LAST_LINES, Told
from stages.contract import StageError
from stages.images import context, engine, parallel
from stages.images.dockerfile import instructions

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.build.builders import Builder
    from stages.build.order import Order

_IDENTITIES = ("containerimage.config.digest", "containerimage.digest")
_VERTEX = re.compile(r"#(\d+) (\[.*)")
_OUTPUT = re.compile(r"#(\d+) (\d+\.\d+) (.*)")
_ERROR = re.compile(r"#(\d+) ERROR: (.*)")
_CACHED = re.compile(r"#(\d+) CACHED")
_FAILED = re.compile(
    r"(?:ERROR: )?(failed to .*|executor failed .*|process .* did not complete .*|.*(?:no space left|denied).*)"
)
_AT_LINE = re.compile(r"(?:parse error|syntax error)\D{0,20}line (\d+)", re.IGNORECASE)
_SHOWN_LINE = re.compile(r"[^\s:]+:(\d+)")
_STEP = re.compile(r"\[(?:[^\]]*\s)?(\d+)/\d+\] (.*)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def build(builder: Builder, order: Order, say: Callable[[str], None], stop: threading.Event) -> Told:
    """Have an image built; each line of the log is said as soon as it is there. Raises parallel.Stopped, StageError."""
    if stop.is_set():
        raise parallel.Stopped
    with tempfile.TemporaryDirectory(prefix="buildkit-") as folder:
        home = Path(folder)
        (home / "Dockerfile").write_bytes(order.text)
        (home / "Dockerfile.dockerignore").write_text("# all that is there\n")  # goes before the context's own
        sent = _stage(order, home / "context")
        reader = Reader(say, order.text.decode(errors="replace"))
        status = _run(arguments(builder, order, home), reader, stop)
        if stop.is_set() and status != 0:
            raise parallel.Stopped
        told = reader.told(_image(home) if status == 0 else None, status)
        return replace(told, context=sent)


def _stage(order: Order, folder: Path) -> str:
    folder.mkdir()
    try:
        return context.stage(order.context, order.listed, folder)
    except OSError as error:
        raise StageError(
            f"the build context cannot be copied: {error.strerror or error}",
            where=str(order.context),
            hint="Leave out by .dockerignore what is not needed to build, or free space on the disk of the project.",
        ) from error


def arguments(builder: Builder, order: Order, home: Path) -> list[str]:
    """The command. `home` has the Dockerfile and the context, and gets the files that name the image."""
    if builder.client is None:
        raise StageError("BuildKit was chosen without a client for it", cls="fault")
    argv = [builder.client.path, *(["buildx"] if builder.client.buildx else []), "build", "--progress=plain"]
    if builder.client.buildx:
        argv += ["--load", f"--metadata-file={home / 'metadata.json'}"]
    if builder.attests:
        argv += ["--provenance=false", "--sbom=false"]
    argv += [f"--iidfile={home / 'image'}", f"--file={home / 'Dockerfile'}", f"--tag={order.tag}"]
    argv += [f"--platform={order.platform}"]
    argv += [f"--target={order.target}"] if order.target else []
    argv += [f"--label={name}={value}" for name, value in LABELS.items()]
    argv += [f"--build-arg={name}={value}" for name, value in order.args.items()]
    argv += ["--pull"] if order.pull else []
    argv += ["--no-cache"] if order.no_cache else []
    return [*argv, *order.flags, "--", str(home / "context")]


def _run(argv: list[str], reader: Reader, stop: threading.Event) -> int:
    """Run the client and hand on its lines, until it ends or is asked to."""
    environment = {**os.environ, "DOCKER_HOST": engine.host(), "DOCKER_BUILDKIT": "1"}
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )
    except OSError as error:
        raise StageError(f"{argv[0]} cannot be run: {error.strerror or error}") from error
    with process:
        watch = threading.Thread(target=_end, args=(process, stop), daemon=True)
        watch.start()
        for line in process.stdout or ():
            reader.add(line.decode(errors="replace"))
    return process.returncode


def _end(process: subprocess.Popen[bytes], stop: threading.Event) -> None:
    """End the client once it is to stop; BuildKit then ends the build."""
    while process.poll() is None:
        if stop.wait(0.1):
            process.terminate()
            return


def _image(home: Path) -> list[str]:
    """What the client says is the image, most telling first: the config's digest, then what it calls the image's id."""
    names: list[str] = []
    with suppress(OSError, ValueError):  # only buildx writes it
        metadata: dict[str, Any] = json.loads((home / "metadata.json").read_bytes())
        names = [str(metadata[key]) for key in _IDENTITIES if key in metadata]
    with suppress(OSError, ValueError):
        names.append((home / "image").read_text(encoding="ascii").strip())
    return list(dict.fromkeys(names))


class Reader:
    """Reads what `--progress=plain` prints: steps by number, their output with the time since each began, and the error."""

    def __init__(self, say: Callable[[str], None], dockerfile: str) -> None:
        self._say = say
        self._dockerfile = dockerfile
        self._names: dict[str, str] = {}
        self._last: dict[str, deque[str]] = {}
        self._failed: str | None = None
        self._error: str | None = None
        self._line: int | None = None
        self._excerpt = False
        self._words: deque[str] = deque(maxlen=LAST_LINES)

    def add(self, line: str) -> None:
        """Take in one line."""
        text = _COLOUR.sub("", line.rstrip().rpartition("\r")[2]).rstrip()
        if match := _OUTPUT.fullmatch(text):
            self._output(match[1], match[3])
        elif match := _ERROR.fullmatch(text):
            self._failed = match[1]
            self._error = match[2]
        elif match := _VERTEX.fullmatch(text):
            self._begun(match[1], match[2])
        elif match := _CACHED.fullmatch(text):
            self._tell(f"{self._names.get(match[1], '')} cached")
        elif text and not text.startswith("#"):
            self._beside(text)

    def _output(self, number: str, text: str) -> None:
        self._last.setdefault(number, deque(maxlen=LAST_LINES)).append(text)
        self._say(text)

    def _begun(self, number: str, name: str) -> None:
        known = self._names.setdefault(number, name)
        if not name.startswith("[internal]") and number not in self._last:
            self._last[number] = deque(maxlen=LAST_LINES)
            self._say(known)

    def _tell(self, text: str) -> None:
        if not text.startswith("[internal]"):
            self._say(text)

    def _beside(self, text: str) -> None:
        """What stands outside any step: warnings, the excerpt of the Dockerfile, and the last word."""
        if text.startswith("------"):
            self._excerpt = True
        elif match := _SHOWN_LINE.fullmatch(text):
            self._line = int(match[1])
        elif match := _FAILED.fullmatch(text):
            self._words.append(text)
            if self._error is None:
                self._error = match[1]
        elif not self._excerpt:
            self._words.append(text)
            self._say(text)

    def told(self, images: list[str] | None, status: int) -> Told:
        """What came of it: `images` are names of what was built, one of which the engine knows."""
        if images:
            return Told("\n".join(images))
        error = self._error or (self._words[-1] if self._words else f"the docker client ended with exit code {status}")
        name = self._names.get(self._failed or "", "")
        match = _STEP.fullmatch(name)
        last = self._last.get(self._failed or "", deque())
        return Told(None, error, self._at(error, name), match[2] if match else "", last)

    def _at(self, error: str, name: str) -> int | None:
        """The line that failed: BuildKit says it, or it is the first with the text of the step."""
        if self._line:
            return self._line
        if match := _AT_LINE.search(error):
            return int(match[1])
        steps = instructions(self._dockerfile)
        match = _STEP.fullmatch(name)
        wanted = " ".join((match[2] if match else name).split())
        same = [each.line for each in steps if " ".join(each.text.split()) == wanted]
        metadata = (
            wanted.removeprefix("[internal] load metadata for ").removeprefix("docker.io/").removeprefix("library/")
        )
        named = [
            each.line for each in steps if each.word == "FROM" and each.rest.split()[0].partition("@")[0] in metadata
        ]
        return next(iter(same or (named if wanted.startswith("[internal]") else [])), None)

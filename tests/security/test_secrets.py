"""A program that writes its secrets in every form, everywhere it can; and a search of all that is left of it."""

from __future__ import annotations

import base64
import html
import json
import os
import shlex
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from integration.stages.build.projects import copy_program
from support.machine import TOWPATH

from stages.build import builders, clients
from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "tok/EN+with='\"&<é>\\ 7f3a"
KEY = "-----BEGIN KEY-----\nMIIBVwIBADANBgkqhkiG9w0BAQEFAASCAUEw\nq7BF\nggE9AgEAAkEAq7BFUpkGp3CvMdKOG\n-----END KEY-----\n"
DOCUMENT = json.dumps({"user": "admin-person", "password": "leaf-hunter-22", "port": 5432})
VALUES = {"TOKEN": TOKEN, "KEY": KEY, "DOCUMENT": DOCUMENT}

DEFINITION = """
version: 1
name: hostile
secrets:
  TOKEN: {{variable: OURS}}
  KEY: {{file: {folder}/key}}
  DOCUMENT: {{file: {folder}/document}}
  UNUSED: {{file: nowhere}}
stages:
  say:
    uses: command
    secrets: [TOKEN, KEY, DOCUMENT]
    with: {{run: [{python}, hostile.py], outputs: [harmless]}}
  other:
    uses: command
    needs: [say]
    with: {{run: [sh, -c, 'cat $TOWPATH_INPUTS/harmless/x; env'], inputs: [harmless]}}
  leak:
    uses: command
    secrets: [TOKEN, KEY, DOCUMENT]
    with: {{run: [{python}, hostile.py, leak], outputs: [leaky]}}
"""

HOSTILE = r"""
import base64, contextlib, html, json, os, shlex, sys, time, urllib.parse
leak = sys.argv[1:] == ["leak"]
out = os.environ["TOWPATH_OUTPUTS"]
said = []
for name in ("TOKEN", "KEY", "DOCUMENT"):
    value = os.environ[name]
    data = value.encode()
    for text in (value, *value.splitlines(), *(json.loads(value).values() if name == "DOCUMENT" else ())):
        text = str(text)
        if len(text) < 6:
            continue
        raw = text.encode()
        said += [raw, b"x" + raw + b"y", raw.hex().encode(), raw.hex().upper().encode(), repr(text).encode()]
        said += [encode(before + raw + after) for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes)
                 for before in (b"", b"a", b"ab") for after in (b"", b"\n", b"z")]
        said += [urllib.parse.quote(text).encode(), urllib.parse.quote_plus(text).encode(), json.dumps(text).encode()]
        said += [json.dumps({"deep": json.dumps(text)}).encode(), html.escape(text).encode(), shlex.quote(text).encode()]
        said += [json.dumps({"message": f"<{text}>", "function": text, "deep": [{text: text}]}).encode()]
        said += [('{"message": "' + "".join(f"\\u{ord(c):04x}" for c in text) + '"}').encode()]
        said += [b"\x1b[1m".join(bytes([byte]) for byte in raw), text.encode("utf-16-le"), b"\n".join(bytes([b]) for b in raw)]
    said += [b"." * (65_536 - cut) + data for cut in (1, 5)]
for line in said:
    for stream in (sys.stdout.buffer, sys.stderr.buffer):
        stream.write(line + b"\n")
for line in said[:40]:
    for byte in line:
        os.write(1, bytes([byte]))
    os.write(1, b"\n")
secrets = "".join(os.environ[name] for name in ("TOKEN", "KEY", "DOCUMENT"))
for folder in (os.environ["TMPDIR"], os.environ["TOWPATH_WORK"], out):
    with contextlib.suppress(OSError), open(os.path.join(folder, "left"), "w") as file:
        file.write(secrets)
os.makedirs(f"{out}/harmless", exist_ok=True)
with open(f"{out}/harmless/x", "w") as file:
    file.write("nothing")
if leak:
    os.makedirs(f"{out}/leaky", exist_ok=True)
    with open(f"{out}/leaky/dump", "w") as file:
        file.write(base64.b64encode(secrets.encode()).decode())
time.sleep(0.5)
print("cut off: " + os.environ["TOKEN"][:-1], end="")
"""


DOCKERFILE = """\
FROM scratch
COPY . /
RUN --mount=type=secret,id=token ["/bin/sh", "-c", "cat /run/secrets/token; echo; cat /run/secrets/token > /code"]
RUN --mount=type=secret,id=token ["/bin/sh", "-c", "cat /run/secrets/token >&2; exit 3"]
"""
TEMPLATE = """\
Resources:
  Fn:
    Type: AWS::Serverless::Function
    Properties: {PackageType: Image}
    Metadata: {Dockerfile: Dockerfile, DockerContext: app}
"""


def texts() -> list[str]:
    """What must be nowhere."""
    lines = [line for line in KEY.splitlines() if len(line) >= 6]
    return [TOKEN, TOKEN[:-1], KEY, *lines, DOCUMENT, "admin-person", "leaf-hunter-22"]


def forms(text: str) -> Iterator[bytes]:
    """Forms of a text, made by other means than those that mask them."""
    data = text.encode()
    yield from (data, data.hex().encode(), data.hex().upper().encode(), repr(text)[1:-1].encode())
    yield from (urllib.parse.quote(text).encode(), urllib.parse.quote_plus(text).encode(), html.escape(text).encode())
    yield from (shlex.quote(text).encode(), json.dumps(text)[1:-1].encode())
    yield from (json.dumps(text, ensure_ascii=False)[1:-1].encode(), json.dumps(json.dumps(text))[3:-3].encode())
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(b"?" * before + data)
            yield encoded[-(-8 * before // 6) : 8 * (before + len(data)) // 6]


FORBIDDEN = sorted({form for text in texts() for form in forms(text)})


def found_in(data: bytes) -> list[bytes]:
    """Forms that stand in bytes; line breaks, and how a log writes them and quotes, do not hide any."""
    views = {
        data,
        data.replace(b"\n", b""),
        data.replace(b"\\\\", b"\\").replace(b'\\"', b'"'),
        data.replace(b"\\u0000", b""),
    }
    return [form for form in FORBIDDEN if any(form in view or form.replace(b"\n", b"") in view for view in views)]


class Watch:
    """Collects what every process is called with, while the block runs."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.is_set():
            for each in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(each.read_bytes())
                except OSError:
                    continue
            time.sleep(0.02)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, set[bytes]]:
    """The project, all that the commands printed, and the arguments of every process meanwhile."""
    project, folder = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("secrets")
    (folder / "key").write_text(KEY)
    (folder / "document").write_text(DOCUMENT)
    (project / "pipeline.yaml").write_text(DEFINITION.format(folder=folder, python=sys.executable))
    (project / "hostile.py").write_text(HOSTILE)
    variables = {**os.environ, "OURS": TOKEN}
    printed = b""
    with Watch() as watch:
        for arguments in (["validate"], ["plan", "--json"], ["run"], ["resume"], ["status", "--json"], ["logs"], ["logs", "--json"], ["audit", "verify"], ["audit", "show"]):  # fmt: skip
            done = subprocess.run([TOWPATH, *arguments], cwd=project, env=variables, capture_output=True, check=False)
            printed += b"\n$ " + " ".join(arguments).encode() + b"\n" + done.stdout + done.stderr
    return project, printed, watch.seen


def test_the_search_finds_what_is_there() -> None:
    for form in FORBIDDEN:
        assert found_in(b"x" + form + b"y")
        assert found_in(json.dumps({"text": form.decode()}, ensure_ascii=False).encode())


def test_the_stages_did_what_they_are_meant_to(ran: tuple[Path, bytes, set[bytes]]) -> None:
    _, printed, seen = ran
    assert b"say | succeeded" in printed
    assert b"other | succeeded" in printed
    assert b"the output dump holds the secret" in printed
    assert printed.count(b"***") > 1_000
    assert any(b"hostile.py" in each for each in seen)
    assert b"warning: pipeline.yaml:8:3: nothing uses secret 'UNUSED'" in printed


def test_no_form_of_a_secret_is_on_the_screen(ran: tuple[Path, bytes, set[bytes]]) -> None:
    assert found_in(ran[1]) == []


def test_no_form_of_a_secret_is_in_the_store_or_a_work_folder(ran: tuple[Path, bytes, set[bytes]]) -> None:
    project = ran[0]
    files = [path for path in (project / ".towpath").rglob("*") if path.is_file()]
    assert len(files) > 20
    assert {str(path): found for path in files if (found := found_in(path.read_bytes()))} == {}
    assert [str(path) for path in (project / ".towpath").rglob("*") if found_in(path.name.encode())] == []


def test_a_log_as_a_whole_holds_no_form_cut_into_its_lines(ran: tuple[Path, bytes, set[bytes]]) -> None:
    for stream in ("stdout", "stderr"):
        whole = b""
        for path in sorted((ran[0] / ".towpath").rglob("log/*.jsonl")):
            events = [json.loads(line)["data"] for line in path.read_bytes().splitlines()]
            whole += b"\n".join(event["text"].encode() for event in events if event.get("stream") == stream)
        assert b"***" in whole
        assert found_in(whole) == []


@pytest.mark.engine
def test_a_build_that_fails_on_a_secret_shows_none_of_it(tmp_path: Path) -> None:
    try:
        builders.choose("buildkit", builders.engine_here(), clients.find(None))
    except StageError as error:
        pytest.skip(error.message)
    for program in ("/bin/sh", "/bin/cat"):
        copy_program(program, tmp_path / "app")
    (tmp_path / "app/Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    argv = [TOWPATH, "build", "--builder", "buildkit", "--secret", "token=variable:OURS", "--no-cache"]
    with Watch() as watch:
        done = subprocess.run(argv, cwd=tmp_path, env={**os.environ, "OURS": TOKEN}, capture_output=True, check=False)
    assert done.returncode == 1, done.stderr
    assert b"| ***" in done.stderr
    assert found_in(done.stdout + done.stderr) == []
    kept = [path for path in (tmp_path / ".towpath").rglob("*") if path.is_file()]
    assert {str(path): found for path in kept if (found := found_in(path.read_bytes()))} == {}
    assert [each for each in watch.seen if found_in(each)] == []


def test_no_process_was_called_with_a_secret(ran: tuple[Path, bytes, set[bytes]]) -> None:
    assert [each for each in ran[2] if found_in(each) or found_in(each.replace(b"\0", b" "))] == []

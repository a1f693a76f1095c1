"""A real registry, and images to put into it."""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import urllib3
from support.machine import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker import APIClient

CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: false}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: 127.0.0.1:{port}}}
"""


@contextmanager
def running_registry(folder: Path) -> Iterator[str]:
    """Run distribution's registry and give its host and port; its access log is `log` in the folder."""
    port = free_port()
    (folder / "config.yaml").write_text(CONFIG.format(folder=folder, port=port))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yaml")], stdout=log, stderr=log)
        try:
            _wait(f"http://127.0.0.1:{port}/v2/", process)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    http = urllib3.PoolManager(retries=False)
    deadline = time.monotonic() + 20
    while True:
        try:
            if http.request("GET", url).status == 200:
                break
        except urllib3.exceptions.HTTPError:
            assert process.poll() is None, "the registry ended"
            assert time.monotonic() < deadline, "the registry does not answer"
            time.sleep(0.05)
    http.clear()


def build_scratch(client: APIClient, content: str, base: str = "scratch") -> str:
    """Build an image that adds one file to a base, and give its id."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in (("Dockerfile", f'FROM {base}\nCOPY code /\nCMD ["x"]\n'), ("code", content)):
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    out.seek(0)
    image = None
    for event in client.build(fileobj=out, custom_context=True, decode=True, rm=True):
        image = (event.get("aux") or {}).get("ID") or image
    assert image is not None
    return str(image)

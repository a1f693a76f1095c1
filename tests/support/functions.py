"""A Lambda function's image for tests: `handler.py` on the base image that `scripts/base-image` makes."""

from __future__ import annotations

import io
import subprocess
import tarfile
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

ROOT = Path(__file__).parents[2]
HANDLER = Path(__file__).with_name("handler.py")


@contextmanager
def function_image(engine: docker.DockerClient) -> Iterator[str]:
    """The tag of an image whose handler does as its event says; removed at the end."""
    base = subprocess.run([ROOT / "scripts" / "base-image"], check=True, capture_output=True, text=True).stdout.strip()
    tag = f"towpath-test-function:{uuid.uuid4().hex[:8]}"
    build(engine, tag, f'FROM {base}\nCOPY handler.py /var/task/\nCMD ["handler.handler"]\n', HANDLER.read_bytes())
    yield tag
    engine.images.remove(tag, force=True)


def build(engine: docker.DockerClient, tag: str, dockerfile: str, handler: bytes) -> None:
    """Build an image from a Dockerfile and one file, handler.py."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, data in (("Dockerfile", dockerfile.encode()), ("handler.py", handler)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    context.seek(0)
    engine.images.build(fileobj=context, custom_context=True, tag=tag, rm=True)

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from stages.local import functions
from stages.local.functions import Place
from stages.local.watch import changes

if TYPE_CHECKING:
    from pathlib import Path

    from stages.template import Application

FUNCTION = (
    "  {0}:\n    Type: AWS::Serverless::Function\n    Properties: {{PackageType: Image}}\n"
    "    Metadata: {{Dockerfile: Dockerfile, DockerContext: {0}}}\n"
)


def application(project: Path, *names: str) -> Application:
    for name in names:
        (project / name).mkdir(exist_ok=True)
        (project / name / "Dockerfile").write_text("FROM scratch\n")
    text = "Transform: AWS::Serverless-2016-10-31\nResources:\n" + "".join(map(FUNCTION.format, names))
    (project / "template.yaml").write_text(text)
    return functions.load(project, "template.yaml", Place("eu-west-1"))


def test_what_a_change_brings_is_watched_too(tmp_path: Path) -> None:
    current = [application(tmp_path, "one")]
    told: queue.SimpleQueue[None] = queue.SimpleQueue()

    def watch() -> None:
        for each in changes(tmp_path, lambda: current[0]):
            told.put(each)

    threading.Thread(target=watch, daemon=True).start()
    seen(told, tmp_path / "one" / "app.py")
    current[0] = application(tmp_path, "one", "two")
    for _ in range(4):  # the template itself may be told of twice
        seen(told, tmp_path / "two" / "app.py")


def seen(told: queue.SimpleQueue[None], path: Path) -> None:
    """Write until it is told: when a watcher has begun nobody says."""
    for attempt in range(100):
        path.write_text(str(attempt))
        with suppress(queue.Empty):
            return told.get(timeout=0.05)
    raise AssertionError(f"nothing is told of {path}")

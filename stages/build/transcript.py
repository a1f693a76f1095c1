"""Read what the classic builder says while it builds: log lines, the step it is at, the image, or the error."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stages.build.order import LAST_LINES

if TYPE_CHECKING:
    from collections.abc import Callable

_STEP = re.compile(
    r"(?:\[\d+/\d+\] )?(?:Step|STEP) (\d+)/\d+ ?: (.*)"
)  # Podman's are in capitals, and counted by stage
_BUILT = re.compile(r"Successfully built ([0-9a-f]{12,64})")
_NOISE = re.compile(r" ---> |Removing intermediate container ")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Transcript:
    """What was said so far. `say` is given each line as soon as it is whole."""

    say: Callable[[str], None]
    step: int = 0
    instruction: str = ""
    image: str | None = None
    error: str | None = None
    last: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    _partial: str = ""

    def add(self, event: dict[str, Any]) -> None:
        """Take in one JSON object of the engine's stream."""
        if "stream" in event:
            self._add_text(str(event["stream"]))
        elif "error" in event:
            self.end()
            detail = event.get("errorDetail") or {}
            self.error = str(detail.get("message") or event["error"]).strip()
        elif "aux" in event:
            self.image = (event["aux"] or {}).get("ID") or self.image
        elif "status" in event and not event.get("progressDetail"):  # the rest are progress bars of a pull
            self._line(": ".join(str(part) for part in (event.get("id"), event["status"]) if part))

    def end(self) -> None:
        """Say what is left of a line that nobody ended."""
        rest, self._partial = self._partial, ""
        self._line(rest)

    def _add_text(self, text: str) -> None:
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            self._line(line)

    def _line(self, line: str) -> None:
        text = _COLOUR.sub("", line.rstrip().rpartition("\r")[2]).rstrip()
        if not text or text == " --->":
            return
        if match := _STEP.match(text):
            self.step, self.instruction = int(match[1]), match[2]
            self.last.clear()
        elif match := _BUILT.match(text):
            self.image = self.image or match[1]
        elif not _NOISE.match(text):
            self.last.append(text)
        self.say(text)

"""Which builder is used: BuildKit where it can be had, else the engine's classic one. Finding clients is apart from deciding."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from stages.contract import StageError
from stages.images import engine

Name = Literal["buildkit", "classic"]
_WITHOUT_BUILDX = 23
"""The first version of the docker client whose DOCKER_BUILDKIT=1 needs the buildx plugin."""
_BUILDKIT_API = (1, 39)
"""The first version of the engine's API with a BuildKit that does not count as an experiment (18.09)."""
_ATTESTING = (0, 10)
"""The first version of buildx that attests by default, and so the first that can be told not to."""


@dataclass(frozen=True)
class Client:
    """A docker client on this machine. `buildx` is the plugin's version, None without one."""

    path: str
    version: tuple[int, ...]
    buildx: tuple[int, ...] | None


@dataclass(frozen=True)
class Engine:
    """The engine that builds: its name and version as people know them, and the version of its API."""

    name: str
    version: str
    api: tuple[int, ...]

    @property
    def is_docker(self) -> bool:
        return "podman" not in self.name.lower()


@dataclass(frozen=True)
class Builder:
    """The builder that is used, and how: `client` runs BuildKit. `told` is what the log says of it."""

    name: Name
    told: str
    client: Client | None = None

    @property
    def attests(self) -> bool:
        """Whether it has to be told not to attest: Lambda refuses the index that attestations need."""
        return bool(self.client and self.client.buildx and self.client.buildx >= _ATTESTING)


def choose(wanted: str, engine: Engine, clients: list[Client]) -> Builder:
    """Decide. `wanted` is `auto` or the one that must be. Raises StageError if it cannot be had."""
    about = f"engine {engine.name} {engine.version}"
    if wanted == "classic":
        return Builder("classic", f"{about}, classic builder, as asked for")
    found, reason = _buildkit(engine, clients)
    if found:
        how = f"docker buildx {_shown(found.buildx)}" if found.buildx else "DOCKER_BUILDKIT=1"
        return Builder("buildkit", f"{about}, BuildKit by {found.path} {_shown(found.version)} ({how})", found)
    if wanted == "buildkit":
        raise StageError(
            f"BuildKit cannot be had: {reason}",
            hint="Install the docker client with its buildx plugin, or leave the option `builder` at `auto`.",
        )
    return Builder("classic", f"{about}, classic builder: {reason}")


def _buildkit(engine: Engine, clients: list[Client]) -> tuple[Client | None, str]:
    """The client that can have BuildKit build, or why there is none."""
    if not engine.is_docker:
        return None, f"{engine.name} has no BuildKit"
    if engine.api < _BUILDKIT_API:
        return None, f"the engine {engine.version} is too old for BuildKit"
    able = [client for client in clients if client.buildx] or [
        client for client in clients if client.version and client.version[0] < _WITHOUT_BUILDX
    ]
    if able:
        return able[0], ""
    return None, "no docker client here has the buildx plugin" if clients else "there is no docker client here"


def _shown(version: tuple[int, ...] | None) -> str:
    return ".".join(map(str, version or ())) or "?"


def engine_here() -> Engine:
    """What engine answers. Raises StageError if none does."""
    about = engine.version()
    components = about.get("Components") or [{}]
    name = str(components[0].get("Name") or "Engine")
    shown = "Docker" if name == "Engine" else name.removesuffix(" Engine")
    return Engine(shown, str(about.get("Version", "?")), numbers(str(about.get("ApiVersion", ""))))


def numbers(text: str) -> tuple[int, ...]:
    """The first version in a text: (20, 10, 24) for `Docker version 20.10.24+dfsg1, build 297e128`."""
    match = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(map(int, match[0].split("."))) if match else ()

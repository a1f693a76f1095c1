"""The container engine of this machine, through its socket."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from docker import APIClient

    from stages.contract import Json

TIMEOUT_S = 600
"""Between two answers of the engine while it pushes or saves: a slow layer says nothing for long. Builds have no limit but
the stage's own, as a step may be silent for as long as it takes."""
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class EngineImage:
    """An image as the engine knows it. `id` is the engine's name for it, `config` its identity everywhere."""

    id: str
    config: str
    platform: str
    size_bytes: int


def connect(connections: int = 10) -> APIClient:
    """Connect to the engine of `DOCKER_HOST`, or of /var/run/docker.sock. Raises StageError if none answers.

    `connections` is how many threads use the client at the same time.
    """
    import docker  # late, as it costs 100 ms, and a mistake in a template is told without it
    from docker.errors import DockerException
    from docker.utils import kwargs_from_env

    try:
        return docker.APIClient(
            version="auto", timeout=TIMEOUT_S, max_pool_size=max(10, connections), **kwargs_from_env()
        )
    except DockerException as error:
        raise _unreachable(str(error), host()) from error


def host() -> str:
    """The engine's address, as the client takes it from the environment."""
    return os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


def _unreachable(text: str, address: str) -> StageError:
    lower = text.lower()
    if "permission denied" in lower:
        hint = (
            "This user may not use the engine's socket: add the user to the group `docker`, or use a rootless engine."
        )
    elif "no such file" in lower:
        hint = "Start the engine (`sudo systemctl start docker`), or set DOCKER_HOST to where one listens."
    else:
        hint = "Start the engine (`sudo systemctl start docker`), or correct DOCKER_HOST."
    return StageError(f"no container engine answers at {address}", hint=hint, cls="retryable")


def engine_id(client: APIClient) -> str:
    """The engine's own id: the same after a restart, another on another machine."""
    return str(client.info().get("ID") or client.info().get("Name", ""))


def inspect(client: APIClient, image: str) -> EngineImage | None:
    """What the engine knows of an image, or None if it has none of that name or id."""
    from docker.errors import ImageNotFound

    ask: Any = client.inspect_image  # its stub has no types
    try:
        data: Json = ask(image)
    except ImageNotFound:
        return None
    platform = f"{data['Os']}/{data['Architecture']}"
    return EngineImage(data["Id"], _config_digest(client, data), platform, int(data.get("Size", 0)))


def _config_digest(client: APIClient, data: Json) -> str:
    """A classic image store names an image by its config's digest. containerd's names it by its manifest's or index's
    (it says so by a `Descriptor`), and the config's digest is read from what the engine exports."""
    if "Descriptor" not in data:
        return str(data["Id"])
    from stages.images import archive

    configs = archive.configs(save(client, [data["Id"]]))
    if len(configs) != 1:
        raise StageError(
            f"the image {data['Id']} holds {len(configs)} images, and a function is one",
            hint="Build for one platform, without attestations (`--provenance=false --sbom=false`).",
        )
    return configs[0]


def save(client: APIClient, images: Iterable[str]) -> Iterator[bytes]:
    """Export images as one stream, as `docker save` does; layers they share are in it once."""
    url = f"{client.base_url}/v{client.api_version}/images/get"
    response: Any = client.get(url, params={"names": list(images)}, stream=True, timeout=TIMEOUT_S)
    with response:
        if response.status_code != 200:
            raise StageError(f"the engine does not export the image: {response.text.strip()[:500]}")
        yield from response.iter_content(CHUNK_BYTES)

"""The container engine of this machine, through its socket."""

from __future__ import annotations

import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from stages.contract import StageError
from stages.images.refusals import refused, retried

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from docker import APIClient

    from stages.contract import Json
    from stages.images.logins import Login

TIMEOUT_S = 600
"""Between two answers of the engine while it pushes or saves: a slow layer says nothing for long. Builds have no limit but
the stage's own, as a step may be silent for as long as it takes."""
LOOK_TIMEOUT_S = 60
"""For what an engine that works answers at once: one that is silent for so long has locked up."""
CHUNK_BYTES = 1 << 20
_ASKED_AT_ONCE = 4
_NONE_SUCH = (b"301", b"400", b"404")
"""An engine's answers where it has no such image: 400 if the name is none, 301 if it holds `//` or `..`."""


@dataclass(frozen=True)
class EngineImage:
    """An image as the engine knows it. `id` is the engine's name for it, `config` its identity everywhere."""

    id: str
    config: str
    platform: str
    size_bytes: int


@dataclass(frozen=True)
class Images:
    """What an engine has of the images that it was asked for: the id of each by the name that was asked, which may be an id itself."""

    engine: str
    ids: Mapping[str, str] = field(default_factory=dict)

    def find(self, reference: str) -> str | None:
        """The id of the image that a FROM or a record means, or None if the engine does not have it."""
        return self.ids.get(reference)


def images(wanted: Iterable[str]) -> Images:
    """Look which of these images the engine has. Raises StageError if none answers.

    They are asked for one by one, 1 ms each: a list of all takes as long as there are images, 110 ms for a thousand.
    """
    names = sorted(set(wanted))
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        about = pool.submit(_get, "/info", lambda client: client.info())
        found = dict(zip(names, pool.map(_find, names), strict=True))
    return Images(_id_of(about.result()), {name: id_ for name, id_ in found.items() if id_})


def _find(reference: str) -> str | None:
    """The id of an image. A name without a tag gets the one it means: the engine would take it for the start of an id, too."""
    name, at, _ = reference.partition("@")
    tagged = reference if at or ":" in name.rpartition("/")[2] else f"{reference}:latest"
    found = _get(f"/images/{quote(tagged)}/json", lambda client: details(client, tagged))
    return str(found["Id"]) if found else None


def version() -> Json:
    """What the engine says of itself. Raises StageError if none answers."""
    about: Json = _get("/version", lambda client: client.version())
    return about


def look(image: str) -> EngineImage | None:
    """As `inspect`, without a client where that can be: for who asks for one image, and needs no client else."""
    found = _get(f"/images/{quote(image)}/json", lambda client: details(client, image))
    if found is not None and "Descriptor" in found:
        with connect() as client:
            return inspect(client, image)
    return _image(found, str(found["Id"])) if found else None


def _get(what: str, by_client: Callable[[APIClient], Any]) -> Any:
    """What the engine answers, None where it says that there is no such thing.

    A socket of this machine is asked directly: the client proper takes 100 ms to be there, and often nothing is to do.
    """
    address = host()
    if not address.startswith("unix://") or os.environ.get("DOCKER_TLS_VERIFY"):
        with connect() as client:
            return by_client(client)
    try:
        return _ask(address.removeprefix("unix://"), what)
    except (OSError, ValueError) as error:
        raise StageError(f"no container engine answers at {address}", hint=_remedy(error), cls="retryable") from error


def _ask(path: str, what: str) -> Any:
    """GET `what` by HTTP/1.0: the answer ends where the connection does, in one piece."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(LOOK_TIMEOUT_S)
        asking.connect(path)
        asking.sendall(f"GET {what} HTTP/1.0\r\nHost: engine\r\n\r\n".encode("ascii"))
        answer = b"".join(iter(lambda: asking.recv(CHUNK_BYTES), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status and status[0] in _NONE_SUCH:
        return None
    if status != [b"200"]:
        raise ValueError(f"the engine answered {head[:80]!r}")
    return json.loads(body)


def connect(connections: int = 10) -> APIClient:
    """Connect to the engine of `DOCKER_HOST`, or of /var/run/docker.sock. Raises StageError if none answers.

    `connections` is how many threads use the client at the same time.
    """
    import docker  # late, as it costs 100 ms, and a mistake in a template is told without it
    from docker.errors import DockerException
    from docker.utils import kwargs_from_env

    address = host()
    try:
        _knock(address)
        return docker.APIClient(
            version="auto", timeout=TIMEOUT_S, max_pool_size=max(10, connections), **kwargs_from_env()
        )
    except (DockerException, OSError) as error:
        raise StageError(f"no container engine answers at {address}", hint=_remedy(error), cls="retryable") from error


def host() -> str:
    """The engine's address, as the client takes it from the environment."""
    return os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


def knock() -> None:
    """Raise StageError if nobody listens at the engine's socket."""
    address = host()
    try:
        _knock(address)
    except OSError as error:
        raise StageError(f"no container engine answers at {address}", hint=_remedy(error), cls="retryable") from error


def _knock(address: str) -> None:
    """Raise OSError if nobody listens at a socket of this machine. The client would tell less, and leave a socket open."""
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as knock:
            knock.settimeout(LOOK_TIMEOUT_S)
            knock.connect(address.removeprefix("unix://"))


def _remedy(error: Exception) -> str:
    start = "Start the engine (`sudo systemctl start docker`)"
    if isinstance(error, PermissionError):
        return (
            "This user may not use the engine's socket: add the user to the group `docker`, or use a rootless engine."
        )
    if isinstance(error, TimeoutError):
        return (
            f"It listens, and has said nothing for {LOOK_TIMEOUT_S} s: start it anew (`sudo systemctl restart docker`)."
        )
    if isinstance(error, FileNotFoundError):
        return f"{start}, or set DOCKER_HOST to where one listens."
    return f"{start}, or correct DOCKER_HOST."


def engine_id(client: APIClient) -> str:
    """The engine's own id: the same after a restart, another on another machine."""
    return _id_of(client.info())


def _id_of(about: Json) -> str:
    if "BuildahVersion" in about:  # Podman makes up another id each time it is asked
        return f"podman {about.get('Name', '')} {about.get('DockerRootDir', '')}"
    return str(about.get("ID") or about.get("Name", ""))


def inspect(client: APIClient, image: str) -> EngineImage | None:
    """What the engine knows of an image, or None if it has none of that name or id."""
    found = details(client, image)
    return _image(found, _config_digest(client, found)) if found else None


def _image(found: Json, config: str) -> EngineImage:
    platform = f"{found['Os']}/{found['Architecture']}"
    return EngineImage(found["Id"], config, platform, int(found.get("Size", 0)))


def find(client: APIClient, name: str) -> str | None:
    """The engine's id of an image, or None if it has none of that name."""
    data = details(client, name)
    return str(data["Id"]) if data else None


def details(client: APIClient, image: str) -> Json | None:
    """All that the engine says of an image, or None if it has none of that name or id."""
    from docker.errors import APIError, NotFound

    ask: Any = client.inspect_image  # its stub has no types
    try:
        data: Json = ask(image)
    except APIError as error:
        if isinstance(error, NotFound) or error.status_code == 400:
            return None
        raise
    return data


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


def push(
    client: APIClient,
    image: str,
    repository: str,
    tag: str,
    login: Login | None,
    *,
    sent: Callable[[int], None] = lambda _: None,
) -> str:
    """Push an image by the engine and return the digest of the manifest that it wrote. Raises StageError.

    The login is for this push alone: the user's Docker configuration is neither read for it nor
    written. `sent` is told how many bytes have just been sent.
    """
    client.tag(image, repository, tag)
    return retried(lambda: _push(client, repository, tag, login, sent))


def _push(client: APIClient, repository: str, tag: str, login: Login | None, sent: Callable[[int], None]) -> str:
    import requests
    from docker.errors import APIError

    auth = {"username": login.user, "password": login.password} if login else {}
    events: Any = client.push
    doing, digest = f"push of {repository}:{tag}", None
    layers: dict[str, int] = {}
    try:
        for event in events(repository, tag=tag, stream=True, decode=True, auth_config=auth):
            if "error" in event:
                detail = event.get("errorDetail") or {}
                raise refused(str(detail.get("message") or event["error"]), doing)
            digest = (event.get("aux") or {}).get("Digest") or digest
            if event.get("status") == "Pushing":
                current = int((event.get("progressDetail") or {}).get("current") or 0)
                sent(max(0, current - layers.get(event.get("id", ""), 0)))
                layers[event.get("id", "")] = current
    except APIError as error:
        raise refused(str(error.explanation), doing) from error
    except requests.RequestException as error:
        raise refused(f"connection broken: {type(error).__name__}", doing) from error
    if digest is None:
        raise refused("the push ended without a digest", doing)
    return str(digest)


def untag(client: APIClient, name: str) -> None:
    """Take a name off an image, but never its last one: with that the engine would remove the image."""
    data = details(client, name)
    if data and len(data.get("RepoTags") or []) > 1:
        client.remove_image(name, noprune=True)

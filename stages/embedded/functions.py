"""Lambda functions of the embedded AWS: from ministack's record of a function to `stages.runtime`, and back."""

from __future__ import annotations

import base64
import json
import logging
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import docker
from docker.errors import DockerException, ImageNotFound

from stages.aws.names import ECR_HOST, engine_reference
from stages.contract import Access, StageError
from stages.embedded import ecr
from stages.images import direct
from stages.runtime.container import network
from stages.runtime.model import Call, Function, Outcome
from stages.runtime.pool import Pool, remove_leftovers

if TYPE_CHECKING:
    from stages.contract import Json

_CONNECTIONS = 64
_logger = logging.getLogger("towpath.functions")


class NoSuchImage(Exception):
    """A function's image is not in the registry that its name says, or its name is not of a registry that Lambda takes."""


class Functions:
    """Runs the functions of one daemon."""

    def __init__(self, endpoint_url: str, labels: dict[str, str]) -> None:
        self._access = Access(endpoint_url=endpoint_url)
        self._address = urlsplit(endpoint_url).netloc
        self._labels = labels
        self._lock = threading.Lock()
        self._engine: docker.DockerClient | None = None
        self._pool: Pool | None = None

    def run(self, config: Json, event: Any, request_id: str) -> Json:
        """Run a function once. `config` is ministack's record of its configuration; gives what its executors give."""
        try:
            engine, pool = self._ready()
            function = function_of(config, self._image(engine, config["ImageUri"]))
            payload = json.dumps(event, ensure_ascii=False).encode()
            return result(pool.invoke(function, Call(payload, request_id, config.get("FunctionArn"))))
        except (DockerException, NoSuchImage, StageError) as error:
            hint = error.hint if isinstance(error, StageError) else None
            _logger.warning("%s: %s %s", config.get("FunctionName"), error, hint or "")
            body = {"errorType": "Runtime.Unavailable", "errorMessage": " ".join(filter(None, (str(error), hint)))}
            return {"body": body, "error": True, "function_error": "Unhandled", "log": str(error)}

    def changed(self, account: str, name: str) -> None:
        """A function was changed or deleted: its idle containers have served their time."""
        if self._pool is not None:
            threading.Thread(target=self._pool.drop, args=(account, name), daemon=True).start()

    def remove_leftovers(self) -> None:
        """Remove containers of an earlier daemon of this home that was killed."""
        try:
            remove_leftovers(direct.connect(), self._labels)
        except (StageError, direct.Refused, OSError) as error:
            _logger.warning("functions cannot run until there is a Docker Engine: %s", error)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()

    def _ready(self) -> tuple[docker.DockerClient, Pool]:
        """The engine may be started, or its network made, after the daemon: so look when a function is called."""
        with self._lock:
            if self._engine is None:
                self._engine = docker.from_env()
            if self._pool is None:
                engine = direct.connect(_CONNECTIONS)
                self._pool = Pool(engine, network(engine, aws=self._address), self._labels)
            return self._engine, self._pool

    def _image(self, engine: docker.DockerClient, uri: str) -> str:
        """What the engine calls the image, once it has it."""
        reference = engine_reference(pinned(uri), self._access)
        try:
            engine.images.get(reference)
        except ImageNotFound:
            _logger.info("pulling %s", reference)
            engine.images.pull(reference, auth_config={"username": "AWS", "password": _password()})
        return reference


def pinned(uri: str, region: str | None = None) -> str:
    """An image's AWS-shaped name by digest. Raises NoSuchImage, also for one in another region than the function's, if that is said."""
    host, _, rest = uri.partition("/")
    match = ECR_HOST.fullmatch(host)
    if match is None or region not in (None, match["region"]):
        raise NoSuchImage(f"Source image {uri} is not valid. Provide a valid source image.")
    name, _, digest = rest.partition("@")
    name, _, tag = name.partition(":")
    place = ecr.Place(match["account"], match["region"])
    try:
        found = ecr.image(place, name, digest or tag or "latest")
    except ecr.EcrError:
        found = None
    if found is None:
        raise NoSuchImage(f"Source image {uri} does not exist. Provide a valid source image.")
    return f"{host}/{name}@{found.digest}"


def function_of(config: Json, image: str) -> Function:
    """What to run, from ministack's record."""
    _, _, _, region, account = config["FunctionArn"].split(":")[:5]
    replaced = (config.get("ImageConfigResponse") or {}).get("ImageConfig") or {}
    return Function(
        name=config["FunctionName"],
        image=image,
        account=account,
        region=region,
        version=config.get("Version") or "$LATEST",
        memory_mb=int(config.get("MemorySize") or 128),
        timeout_s=float(config.get("Timeout") or 3),
        storage_mb=int((config.get("EphemeralStorage") or {}).get("Size") or 512),
        variables={k: str(v) for k, v in ((config.get("Environment") or {}).get("Variables") or {}).items()},
        credentials={
            "AWS_ACCESS_KEY_ID": account,
            "AWS_SECRET_ACCESS_KEY": "embedded",
            "AWS_SESSION_TOKEN": "embedded",
        },
        command=replaced.get("Command"),
        entrypoint=replaced.get("EntryPoint"),
        working_directory=replaced.get("WorkingDirectory"),
    )


def result(outcome: Outcome) -> Json:
    """An outcome as ministack's executors give it."""
    try:
        body: Any = json.loads(outcome.payload)
        raw = False
    except ValueError:
        body, raw = outcome.payload.decode("utf-8", "replace"), True
    if outcome.succeeded:
        return {"body": body, "log": outcome.log, **({"raw_payload": True} if raw else {})}
    return {"body": body, "error": True, "function_error": "Unhandled", "log": outcome.log}


def _password() -> str:
    return base64.b64decode(ecr.token()).decode().partition(":")[2]

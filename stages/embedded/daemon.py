"""The daemon's process: ministack behind our front, on one loopback port, with a registry as its child.

It runs in the virtual environment that `venv` makes: the standard library, docker, hypercorn and ministack are there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stages.contract import StageError
from stages.embedded import distribution
from stages.embedded.home import Home, Running

if TYPE_CHECKING:
    from stages.embedded.distribution import Distribution

_logger = logging.getLogger("towpath")


def main(arguments: list[str]) -> int:
    """`HOME SOURCE LOCK PORT...`: serve until told to end. LOCK is the descriptor of the lock that says that we live."""
    here, source, lock = Home(Path(arguments[0])), arguments[1], int(arguments[2])
    here.hold(lock)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        listener = _listen([int(port) for port in arguments[3:]])
        registry = distribution.start(here.path)
    except StageError as error:
        print(error.message, error.hint or "", sep="\n", file=sys.stderr)  # noqa: T201 - into the log, for `start`
        return 1
    port = listener.getsockname()[1]
    _configure(here, port)
    try:
        asyncio.run(_serve(here, listener, registry, Running(os.getpid(), port, registry.url, source)))
    finally:
        registry.stop()
    return 0


def _listen(ports: list[int]) -> socket.socket:
    """Listen on the first of the ports that is free; 0 is any."""
    for port in ports:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(256)
        except OSError:
            listener.close()
        else:
            return listener
    raise StageError(
        f"port {ports[0]} of 127.0.0.1 is taken by another program",
        hint="Set TOWPATH_EMBEDDED_PORT to another port, or leave it unset to have a free one chosen.",
    )


def _configure(here: Home, port: int) -> None:
    """ministack reads its configuration from the environment, when it is imported."""
    temporary = here.path / "tmp"
    temporary.mkdir(exist_ok=True)
    os.environ.update(
        {
            "TMPDIR": str(temporary),
            "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "localhost",
            "PERSIST_STATE": "1",
            "STATE_DIR": str(here.path / "state"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(here.path / "s3"),
            "IOT_MTLS_ENABLED": "0",  # else it listens for MQTT on all interfaces
            "SFTP_ENABLED": "0",
            "LAMBDA_STRICT": "1",  # no function runs outside a container
        }
    )


async def _serve(here: Home, listener: socket.socket, registry: Distribution, running: Running) -> None:
    # These read the environment that was just made.
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    from stages.embedded import hooks
    from stages.embedded.front import application
    from stages.embedded.functions import Functions

    logging.getLogger("persistence").setLevel(logging.WARNING)  # a line for each service and save
    functions = Functions(running.endpoint_url, here.labels)
    functions.remove_leftovers()
    hooks.install(functions)
    ended = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, ended.set)
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]  # hypercorn closes it
    config.keep_alive_timeout = 75
    config.graceful_timeout = 3
    config.shutdown_timeout = 30
    config.errorlog = logging.getLogger("hypercorn.error")
    _logger.info("serving on %s, registry on %s", running.endpoint_url, running.registry_url)
    here.write(running)
    try:
        await serve(application(hooks.AWS, registry, running.pid), config, shutdown_trigger=ended.wait)
    finally:
        functions.close()
    _logger.info("ended")

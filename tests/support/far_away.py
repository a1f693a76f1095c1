"""A TCP proxy that makes a server as far away as its round-trip time says; as a program: `far_away.py PORT TO_PORT RTT_MS`.

Every byte is half a round trip on its way, and a connection takes a whole one to be opened. Bandwidth is not limited.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.machine import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_BYTES = 1 << 18


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Pass on what comes, each piece `delay_s` after it came, and the end of it."""
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=1000)

    async def receive() -> None:
        data = b"x"
        while data:
            data = b""
            with contextlib.suppress(ConnectionError):
                data = await reader.read(READ_BYTES)
            await queue.put((time.monotonic() + delay_s, data))

    task = asyncio.create_task(receive())
    with contextlib.suppress(ConnectionError):
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
    task.cancel()
    writer.close()


async def _serve(port: int, to: int, rtt_s: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(rtt_s)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_carry(reader, back, rtt_s / 2), _carry(there, writer, rtt_s / 2))

    server = await asyncio.start_server(connected, "127.0.0.1", port, backlog=256)
    async with server:
        await server.serve_forever()


@contextlib.contextmanager
def far_away(to: int, rtt_ms: float) -> Iterator[int]:
    """Run the proxy as a process of its own, so that it takes no time from who measures; gives its port."""
    port = free_port()
    argv = [sys.executable, __file__, str(port), str(to), str(rtt_ms)]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    try:
        _wait(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait(port: int) -> None:
    import socket

    until = time.monotonic() + 10
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise TimeoutError("the proxy does not listen")


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000))

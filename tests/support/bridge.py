"""Ports of this machine's loopback on another one's, whose network is apart; as a program: `bridge.py NAMESPACE PORT...`.

A socket stays in the network in which it was made. So one process listens there and connects here.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from support.machine import Machine

CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def bridge(machine: Machine, ports: Sequence[int]) -> Iterator[None]:
    """Let a machine reach these ports as its own, for as long as the block runs."""
    if not ports:
        yield
        return
    namespace = machine.inside[1].removeprefix("--net=")
    argv = [sys.executable, __file__, namespace, *map(str, ports)]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.terminate()


def _enter(namespace: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(namespace).open("rb") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 18):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


async def _serve(listeners: list[tuple[socket.socket, int]]) -> None:
    under_way: set[asyncio.Task[None]] = set()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_carry(reader, back), _carry(there, writer))
        back.close()
        writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        task = asyncio.create_task(connect(reader, writer, port))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    servers = [await asyncio.start_server(partial(connected, port=port), sock=listener) for listener, port in listeners]
    assert all(each.is_serving() for each in servers)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    ours = f"/proc/{os.getpid()}/ns/net"
    with Path(ours).open("rb") as home:
        _enter(sys.argv[1])
        made = [(socket.create_server(("127.0.0.1", int(port)), backlog=128), int(port)) for port in sys.argv[2:]]
        _enter(f"/proc/self/fd/{home.fileno()}")
    asyncio.run(_serve(made))

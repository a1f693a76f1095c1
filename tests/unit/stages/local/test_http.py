from __future__ import annotations

from contextlib import closing

import pytest

from stages.contract import StageError
from stages.local.http import Reply, Request, Server


def answer(request: Request, reply: Reply) -> None:
    raise AssertionError(request, reply)


@pytest.mark.parametrize(
    ("host", "port", "message", "hint"),
    [
        ("127.0.0.1", None, "Address already in use", "0 for a free one"),
        ("127.0.0.1", 65_536, "ports end at 65535", "begin lower"),
        ("192.0.2.1", 0, "Cannot assign requested address", "an address of this machine"),
    ],
)
def test_where_nothing_can_be_served(host: str, port: int | None, message: str, hint: str) -> None:
    with closing(Server("127.0.0.1", 0, answer)) as taken, pytest.raises(StageError) as error:
        Server(host, int(taken.server_address[1]) if port is None else port, answer)
    assert error.value.message.startswith(f"cannot listen on {host}:")
    assert error.value.message.endswith(message)
    assert hint in str(error.value.hint)

from __future__ import annotations

import socket
from contextlib import closing
from typing import Any

import pytest
import urllib3
from support.machine import free_port

from stages import connections
from stages.contract import StageError

PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("url", "environment", "proxied"),
    [
        ("https://ecr.example/v2/a", {}, False),
        ("https://ecr.example/v2/a", {"https_proxy": PROXY}, True),
        ("https://ecr.example/v2/a", {"HTTPS_PROXY": PROXY}, True),
        ("https://ecr.example/v2/a", {"http_proxy": PROXY}, False),
        ("https://ecr.example/v2/a", {"https_proxy": PROXY, "no_proxy": "ecr.example"}, False),
        ("http://api.example/x", {"http_proxy": "proxy.example:3128"}, True),
        ("http://127.0.0.1:5000/v2/a", {"http_proxy": PROXY}, False),
        ("http://[::1]:5000/v2/a", {"http_proxy": PROXY}, False),
        ("http://localhost/x", {"http_proxy": PROXY}, False),
    ],
)
def test_the_environments_proxy_is_for_others_than_this_machine(
    monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], *, proxied: bool
) -> None:
    connections.pool(url)  # what was made before says nothing of the variables now
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    made: Any = connections.pool(url)
    assert (str(made.proxy) if made.proxy else None) == (PROXY if proxied else None)


@pytest.mark.parametrize(
    ("login", "sent"),
    [("ada:p%40ss%3A", "ada:p@ss:"), ("ada", "ada:"), ("corp%5Cada:x", "corp\\ada:x")],
)
def test_a_proxys_login_is_sent_as_it_is_meant(monkeypatch: pytest.MonkeyPatch, login: str, sent: str) -> None:
    monkeypatch.setenv("https_proxy", f"http://{login}@proxy.example:3128")
    made: Any = connections.pool("https://ecr.example/")
    assert made.proxy_headers == urllib3.make_headers(proxy_basic_auth=sent)


def test_a_proxy_of_another_kind_is_told_without_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://ada:secret@proxy.example:1080")
    with pytest.raises(StageError, match=r"socks5://proxy\.example") as caught:
        connections.pool("https://ecr.example/")
    assert "secret" not in f"{caught.value.message} {caught.value.hint}"
    assert connections.reason(caught.value) == caught.value.message


def failed(url: str) -> str:
    with (
        connections.pool(url, timeout=0.05, retries=False) as made,
        pytest.raises(urllib3.exceptions.HTTPError) as caught,
    ):
        made.request("GET", f"{url}/?token=secret")
    return connections.reason(caught.value)


def test_why_nothing_was_answered_is_told_in_words() -> None:
    assert failed(f"http://127.0.0.1:{free_port()}") == "Connection refused"
    assert failed("http://nowhere.invalid") == "its name cannot be found"
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        assert failed(f"http://127.0.0.1:{silent.getsockname()[1]}") == "it does not answer in time"


@pytest.mark.parametrize(
    ("host", "scheme"),
    [
        ("localhost:5000", "http"),
        ("127.0.0.1", "http"),
        ("[::1]:5000", "http"),
        ("127.example", "https"),
        ("ecr.example:443", "https"),
    ],
)
def test_a_registry_of_this_machine_is_spoken_to_in_plain_http(host: str, scheme: str) -> None:
    assert connections.scheme(host) == scheme

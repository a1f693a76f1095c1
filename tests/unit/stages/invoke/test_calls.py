from __future__ import annotations

import pytest
import urllib3

from stages.invoke import calls


@pytest.mark.parametrize(
    ("url", "path", "address"),
    [
        ("https://x.test/Prod/hello/", "", "https://x.test/Prod/hello/"),
        ("https://x.test/Prod/hello/", "?a=b", "https://x.test/Prod/hello/?a=b"),
        ("https://x.test/Prod", "/hello", "https://x.test/Prod/hello"),
        ("https://x.test/Prod/", "hello", "https://x.test/Prod/hello"),
        ("https://x.test", "@evil.test", "https://x.test/@evil.test"),
        ("https://x.test", ".evil.test", "https://x.test/.evil.test"),
    ],
)
def test_a_path_stays_below_its_endpoint(url: str, path: str, address: str) -> None:
    assert calls.join(url, path) == address


@pytest.mark.parametrize(
    ("address", "proxied"),
    [
        ("http://127.0.0.1:4566/_api/x", False),
        ("http://localhost/x", False),
        ("http://api.test/x", True),
        ("http://inside.example/x", False),
    ],
)
def test_the_environments_proxy_is_used_for_others_than_this_machine(
    monkeypatch: pytest.MonkeyPatch, address: str, *, proxied: bool
) -> None:
    monkeypatch.setenv("http_proxy", "http://user:secret@proxy.test:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert isinstance(calls.pool(address), urllib3.ProxyManager) is proxied

from __future__ import annotations

import pytest

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

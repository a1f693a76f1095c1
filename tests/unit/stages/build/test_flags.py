from __future__ import annotations

import pytest

from stages.build.flags import rebuilds, refusal


@pytest.mark.parametrize(
    "params",
    [
        (),
        ("--network=host",),
        ("--network", "host", "--add-host", "a:1.2.3.4"),
        ("--secret", "id=a,src=b", "--ssh=default"),
        ("--cache-from=type=registry,ref=a", "--cache-to", "type=inline"),
        ("--no-cache", "--pull", "--rm", "--label=a=b"),
    ],
)
def test_flags_that_may_be_had(params: tuple[str, ...]) -> None:
    assert refusal(params) is None


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (("--tag=other:1",), "--tag cannot be used here"),
        (("-t", "other:1"), "-t cannot be used here"),
        (("-tother:1",), "-tother:1 cannot be used here"),
        (("--pull", "--platform", "linux/arm64"), "--platform cannot be used here"),
        (("--output=type=registry",), "--output cannot be used here"),
        (("--push",), "--push cannot be used here"),
        (("--provenance=true",), "--provenance cannot be used here"),
        (("--build-context=a=/",), "--build-context cannot be used here"),
        (("--new-flag",), "--new-flag cannot be used here"),
        (("--network",), "--network lacks its value"),
        (("--network", "--push"), "--network lacks its value"),
        (("--network host",), "--network host cannot be used here"),
        (("/etc",), "'/etc' is no flag"),
        (("--", "/etc"), "'--' is no flag"),
        (("-",), "'-' is no flag"),
        (("--no-cache", "/other/context"), "'/other/context' is no flag"),
    ],
)
def test_flags_that_take_an_images_identity_out_of_our_hands(params: tuple[str, ...], message: str) -> None:
    refused = refusal(params)
    assert refused is not None
    assert refused.message == message
    assert refused.hint


def test_some_ask_for_a_build() -> None:
    assert rebuilds(("--pull",))
    assert rebuilds(("--no-cache-filter=a",))
    assert not rebuilds(("--network=host",))

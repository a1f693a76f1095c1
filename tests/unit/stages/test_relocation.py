from __future__ import annotations

from stages.relocation import innermost_first, names, relocated

OLD, NEW = (f"{host}.dkr.ecr.eu-central-1.amazonaws.com/app@sha256:{'1' * 64}" for host in ("111", "222"))


def test_addresses_are_replaced_wherever_they_stand_and_nothing_else() -> None:
    text = f'# about app\nA: {OLD}\nB: \'{OLD}\'\nC: {{"x":"{OLD}"}}\r\nD: 111.dkr.ecr.eu-central-1.amazonaws.com/app\n'
    assert relocated(text.encode(), {OLD: NEW}).decode() == text.replace(OLD, NEW)


def test_what_goes_on_is_another_address() -> None:
    longer = f"x{OLD} {OLD}0 {OLD}/y".encode()
    assert relocated(longer, {OLD: NEW}) == longer
    assert not names(longer, OLD)
    assert names(f"[{OLD}]".encode(), OLD)


def test_two_that_change_places_do() -> None:
    assert relocated(f"{OLD} {NEW}".encode(), {OLD: NEW, NEW: OLD}).decode() == f"{NEW} {OLD}"
    assert relocated(b"x", {}) == b"x"


def test_what_is_nested_comes_before_what_is_around_it() -> None:
    assert innermost_first(["", "A", "A/B", "C"]) == ["A/B", "A", "C", ""]

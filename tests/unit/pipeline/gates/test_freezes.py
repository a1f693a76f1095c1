from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.approvers import rules

from pipeline.errors import VerificationFailed
from pipeline.gates.freezes import DAYS, Freeze, covers, frozen, problem
from pipeline.gates.rules import NOBODY, compare, from_json

BERLIN, UNTIL = "Europe/Berlin", "2026-11-30 08:00 Europe/Berlin (2026-11-30 07:00 UTC)"
WEEKEND = Freeze("weekend", "fri 16:00", "mon 08:00", BERLIN)
NIGHT = Freeze("night", "18:00", "07:00", "UTC")
YEAR_END = Freeze("year-end", "2026-12-18 18:00", "2027-01-04 08:00", "America/New_York")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def is_frozen(freeze: Freeze, moment: str) -> bool:
    return frozen([freeze], at(moment)) is not None


@pytest.mark.parametrize(
    ("freeze", "before", "first", "last", "after"),
    [
        (WEEKEND, "2026-11-27 14:59:59", "2026-11-27 15:00", "2026-11-30 06:59:59", "2026-11-30 07:00"),
        (NIGHT, "2026-11-27 17:59:59", "2026-11-27 18:00", "2026-11-28 06:59:59", "2026-11-28 07:00"),
        (YEAR_END, "2026-12-18 22:59:59", "2026-12-18 23:00", "2027-01-04 12:59:59", "2027-01-04 13:00"),
        # Clocks go forward on 2026-03-29 at 02:00, to 03:00: this week is an hour shorter.
        (WEEKEND, "2026-03-27 14:59", "2026-03-27 15:00", "2026-03-30 05:59", "2026-03-30 06:00"),
        # They go back on 2026-10-25 at 03:00, to 02:00.
        (WEEKEND, "2026-10-23 13:59", "2026-10-23 14:00", "2026-10-26 06:59", "2026-10-26 07:00"),
    ],
)
def test_a_freeze_lasts_from_one_moment_to_another(
    freeze: Freeze, before: str, first: str, last: str, after: str
) -> None:
    assert [is_frozen(freeze, moment) for moment in (before, first, last, after)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("begins", "ends", "first", "end"),
    [
        # 02:30 is left out on 2026-03-29. Before the change it would be 01:30 UTC, after it 00:30 UTC.
        ("2026-03-29 02:30", "2026-03-29 12:00", "2026-03-29 00:30", "2026-03-29 10:00"),
        ("2026-03-28 12:00", "2026-03-29 02:30", "2026-03-28 11:00", "2026-03-29 01:30"),
        # 02:30 is there twice on 2026-10-25: at 00:30 UTC and at 01:30 UTC.
        ("2026-10-25 02:30", "2026-10-25 12:00", "2026-10-25 00:30", "2026-10-25 11:00"),
        ("2026-10-24 12:00", "2026-10-25 02:30", "2026-10-24 10:00", "2026-10-25 01:30"),
    ],
)
def test_where_clocks_are_changed_it_is_never_shorter_than_its_words(
    begins: str, ends: str, first: str, end: str
) -> None:
    freeze, second = Freeze("x", begins, ends, BERLIN), timedelta(seconds=1)
    assert not is_frozen(freeze, str(at(first) - second)[:19])
    assert is_frozen(freeze, first)
    found = frozen([freeze], at(end) - second)
    assert found
    assert found.until == at(end)
    assert not is_frozen(freeze, end)


def test_each_day_around_a_change_of_clocks() -> None:
    night = Freeze("night", "02:30", "03:30", BERLIN)
    assert is_frozen(night, "2026-03-29 00:30")
    assert is_frozen(night, "2026-03-29 01:29")
    assert not is_frozen(night, "2026-03-29 01:30")
    assert is_frozen(night, "2026-10-25 00:30")
    assert is_frozen(night, "2026-10-25 02:29")


def test_what_is_said_has_both_zones() -> None:
    assert str(frozen([WEEKEND], at("2026-11-28 12:00"))) == f"frozen: weekend, until {UNTIL}"


def test_until_counts_what_follows_without_a_gap() -> None:
    found = frozen([WEEKEND, NIGHT], at("2026-11-27 12:00"))
    assert found is None
    found = frozen([WEEKEND, Freeze("monday", "mon 07:30", "mon 12:00", "UTC"), NIGHT], at("2026-11-27 20:00"))
    assert found
    assert [each.name for each in found.by] == ["weekend", "night"]
    assert found.until == at("2026-11-30 07:00")
    found = frozen([WEEKEND, Freeze("monday", "mon 07:00", "mon 12:00", "UTC")], at("2026-11-27 20:00"))
    assert found
    assert found.until == at("2026-11-30 12:00")


def test_a_freeze_without_an_end_says_so() -> None:
    both = [Freeze("a", "00:00", "12:00", "UTC"), Freeze("b", "12:00", "00:00", "UTC")]
    assert "without an end" in str(frozen(both, at("2026-11-27 20:00")))


@pytest.mark.parametrize(
    ("begins", "ends", "zone", "why"),
    [
        ("fri 16:00", "08:00", BERLIN, "not written in the same way"),
        ("fri 16:00", "fri 16:00", BERLIN, "ends before it begins"),
        ("2026-12-18 18:00", "2026-12-18 17:59", BERLIN, "ends before it begins"),
        ("2026-02-30 18:00", "2026-12-18 17:59", BERLIN, "day is out of range"),
        ("friday 16:00", "mon 08:00", BERLIN, "is no moment such as"),
        ("16:00", "24:00", BERLIN, "is no moment such as"),
        ("16:00", "17:00", "Europe/Berlim", "no time zone"),
        ("16:00", "17:00", "localtime", "no time zone"),
        ("16:00", "17:00", "../etc/passwd", "no time zone"),
    ],
)
def test_what_is_no_freeze(begins: str, ends: str, zone: str, why: str) -> None:
    assert why in str(problem(Freeze("x", begins, ends, zone)))


@pytest.mark.parametrize(
    ("changed", "is_covered"),
    [
        (("thu 16:00", "mon 08:00", BERLIN), True),
        (("fri 16:00", "mon 08:01", BERLIN), True),
        (("fri 16:01", "mon 08:00", BERLIN), False),
        (("fri 16:00", "mon 07:59", BERLIN), False),
        (("mon 08:00", "fri 16:00", BERLIN), False),
        (("tue 08:00", "tue 07:59", BERLIN), True),
        (("sun 08:00", "sun 07:59", BERLIN), False),
        (("fri 16:00", "mon 08:00", "Europe/London"), False),
        (("00:00", "23:59", BERLIN), False),
    ],
)
def test_which_freeze_covers_another(changed: tuple[str, str, str], is_covered: bool) -> None:  # noqa: FBT001 - as the table has it
    assert covers(Freeze("other", *changed), WEEKEND) is is_covered


def test_a_dated_freeze_covers_another_whatever_the_zone() -> None:
    assert covers(Freeze("x", "2026-12-19 00:01", "2027-01-04 14:00", BERLIN), YEAR_END) is False
    assert covers(Freeze("x", "2026-12-19 00:00", "2027-01-04 14:00", BERLIN), YEAR_END) is True


MINUTES = st.tuples(st.sampled_from(DAYS), st.integers(0, 23), st.integers(0, 59)).map(
    lambda each: f"{each[0]} {each[1]:02}:{each[2]:02}"
)
WEEKLY = st.builds(Freeze, st.just("x"), MINUTES, MINUTES, st.sampled_from([BERLIN, "UTC", "America/Santiago"]))
MOMENTS = st.integers(1_735_689_600, 1_830_297_600).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(WEEKLY, WEEKLY, MOMENTS)
def test_what_a_freeze_covers_it_freezes(one: Freeze, other: Freeze, moment: datetime) -> None:
    """That rules are not weaker must mean that nothing passes which did not before."""
    if problem(one) or problem(other) or not covers(one, other) or frozen([other], moment) is None:
        return
    assert frozen([one], moment)


@given(st.lists(WEEKLY, max_size=4), MOMENTS)
def test_it_is_over_when_it_says_so(freezes: list[Freeze], moment: datetime) -> None:
    fine = [each for each in freezes if not problem(each)]
    found = frozen(fine, moment)
    if found and found.until:
        assert frozen(fine, found.until) is None
        assert frozen(fine, found.until - timedelta(seconds=1))


# As part of the rules


def test_they_are_part_of_the_rules() -> None:
    both = rules(freezes=(NIGHT, WEEKEND))
    assert from_json(both.as_json(), "ledger").as_json() == both.as_json()
    assert rules(freezes=(WEEKEND, NIGHT)).digest == both.digest
    assert "freezes" not in rules().as_json()  # rules that were recorded before there were any keep their digest


@pytest.mark.parametrize(
    "bad", [{"name": "x"}, {**NIGHT.as_json(), "zone": "Mars/Olympus"}, "x", {**NIGHT.as_json(), "x": 1}]
)
def test_rules_with_a_freeze_that_is_none_are_refused(bad: object) -> None:
    with pytest.raises(VerificationFailed):
        from_json({**rules().as_json(), "freezes": [bad]}, "ledger")
    with pytest.raises(VerificationFailed, match="are called"):
        from_json({**rules().as_json(), "freezes": [NIGHT.as_json()] * 2}, "ledger")


def test_a_freeze_that_is_gone_or_shorter_is_a_weaker_rule() -> None:
    two = rules(freezes=(NIGHT, WEEKEND))
    shorter = Freeze("weekend", "fri 17:00", "mon 08:00", BERLIN)
    longer = Freeze("weekend", "fri 15:00", "mon 08:00", BERLIN)
    assert compare(two, rules(freezes=(NIGHT,))).kind == "weaker"
    assert compare(two, rules(freezes=(NIGHT, shorter))).kind == "weaker"
    assert compare(two, rules(freezes=(NIGHT, longer))).kind == "stricter"
    assert compare(rules(), two).kind == "stricter"
    found = compare(two, rules(freezes=(NIGHT, Freeze("other", "fri 16:00", "mon 08:00", BERLIN))))
    assert found.kind == "stricter"
    assert "is part of other" in found.reasons[0]


def test_they_count_where_nobody_need_approve() -> None:
    frozen_rules = from_json({**NOBODY.as_json(), "freezes": [NIGHT.as_json()]}, "ledger")
    assert compare(frozen_rules, NOBODY).kind == "weaker"

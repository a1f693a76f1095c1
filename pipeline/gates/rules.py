"""The rules of a target: how many people must approve, who may, and with which keys. Format version 1 (docs/adr/0011).

Rules are data: they are recorded in a target's ledger, digested, and compared with those that come after them. There are no
defaults: what says nothing is refused, and `NOBODY` is what is written where nobody need approve.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import VerificationFailed
from pipeline.gates import freezes as windows
from pipeline.gates import sshkeys
from pipeline.record import digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.gates.freezes import Freeze

VERSION = 1
LONGEST_S = 30 * 24 * 3600
"""An approval that counts for more than a month is of something that nobody remembers."""

Scan = Literal["required", "none"]
Keys = tuple[str, ...]
Validity = tuple[str | None, str | None]
"""From when until when a key counts, as RFC 3339 in UTC; None where there is no limit."""


@dataclass(frozen=True)
class Rules:
    """`people`: how many must approve, 0 if nobody need. `approvers`: who may, each with the public keys (`type base64`).

    `identities`: mail addresses and logins, in lower case, each with its person; they tell who asked for a run and who wrote
    what it deploys. `expires_s`: the longest time for which an approval counts. `scan`: whether a scan must have passed.
    `validity`: of keys that do not count for ever. `freezes`: when nothing is applied. `glass`: who may break the glass, with keys.
    """

    people: int
    approvers: Mapping[str, tuple[str, ...]]
    identities: Mapping[str, str]
    expires_s: int
    scan: Scan
    validity: Mapping[str, Validity] = field(default_factory=dict)
    freezes: tuple[Freeze, ...] = ()
    glass: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Give the JSON form: equal rules give equal JSON, in whatever order they were written.

        What is not there is left out, where rules may lack it that were written before it could be said.
        """
        form = {
            "v": VERSION,
            "people": self.people,
            "approvers": {person: sorted(keys) for person, keys in sorted(self.approvers.items())},
            "identities": dict(sorted(self.identities.items())),
            "expires_s": self.expires_s,
            "scan": self.scan,
            "validity": {key: list(limits) for key, limits in sorted(self.validity.items())},
        }
        if self.freezes:
            form["freezes"] = [each.as_json() for each in sorted(self.freezes)]
        if self.glass:
            form["glass"] = {person: sorted(keys) for person, keys in sorted(self.glass.items())}
        return form

    @property
    def digest(self) -> str:
        """The digest that names these rules."""
        return digest.of_bytes(digest.canonical(self.as_json()))

    def valid_at(self, key: str, moment: datetime) -> bool:
        """Tell whether a key counts at this moment."""
        since, until = self.validity.get(key, (None, None))
        return (since is None or _moment(since) <= moment) and (until is None or moment < _moment(until))


NOBODY = Rules(people=0, approvers={}, identities={}, expires_s=0, scan="none")
"""Nobody need approve. It is said, never assumed."""


def from_json(value: Any, what: str) -> Rules:
    """Read rules that `as_json` gave. Raises VerificationFailed, also for rules that could never be met."""
    try:
        if value["v"] != VERSION:
            raise VerificationFailed(f"{what}: the rules are of format version {value['v']}, not {VERSION}")
        rules = Rules(
            people=value["people"],
            approvers={str(person): tuple(keys) for person, keys in value["approvers"].items()},
            identities=dict(value["identities"]),
            expires_s=value["expires_s"],
            scan=value["scan"],
            validity={key: (since, until) for key, (since, until) in value["validity"].items()},
            freezes=tuple(windows.from_json(each) for each in value.get("freezes", ())),
            glass={str(person): tuple(keys) for person, keys in value.get("glass", {}).items()},
        )
        if digest.canonical(rules.as_json()) != digest.canonical(value):
            raise VerificationFailed(f"{what}: the rules are not in the form that they are recorded in")
        wrong = problems(rules)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise VerificationFailed(f"{what}: these are not rules of a target: {error!r}") from error
    if wrong:
        raise VerificationFailed(f"{what}: {wrong[0]}")
    return rules


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


# What can never be met, or means something else than it seems to


def problems(rules: Rules) -> list[str]:
    """Say why these rules cannot be applied; nothing if they can."""
    return [*_bad_values(rules), *_bad_keys(rules), *_bad_times(rules), *_bad_freezes(rules)]


def _bad_values(rules: Rules) -> Iterator[str]:
    if type(rules.people) is not int or rules.people < 0:
        yield f"how many people must approve is a number of 0 or more, not {rules.people!r}"
    elif rules.people == 0 and rules.approvers:
        yield "nobody need approve, and yet approvers are named"
    elif rules.people and not rules.approvers:
        yield f"{_people(rules.people)} must approve, and there is nobody who may"
    elif rules.people > len(rules.approvers):
        yield f"{_people(rules.people)} must approve, and only {len(rules.approvers)} may: {', '.join(sorted(rules.approvers))}"
    if type(rules.expires_s) is not int or not (1 if rules.people else 0) <= rules.expires_s <= LONGEST_S:
        yield f"approvals count for 1 to {LONGEST_S:,} seconds, not {rules.expires_s!r}"
    if rules.scan not in ("required", "none"):
        yield f"scan is 'required' or 'none', not {rules.scan!r}"
    for identity, person in rules.identities.items():
        if not _is_name(person) or not identity or identity != identity.strip().lower():
            yield f"{identity!r} is no mail address or login in lower case of a person"


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _bad_keys(rules: Rules) -> Iterator[str]:
    for may, person, keys in _holders(rules):
        if not keys:
            yield f"{person!r} may {may}, and has no key"
        for key in keys:
            try:
                if sshkeys.normal(key) != key:
                    yield f"a key of {person!r} is not written as type and base64, and no more"
            except sshkeys.Malformed as error:
                yield f"a key of {person!r} is not taken: {error}"
    for key, count in Counter(key for keys in rules.approvers.values() for key in keys).items():
        if count > 1:
            owners = sorted(person for person, keys in rules.approvers.items() if key in keys)
            yield f"one key stands {count} times, with {' and '.join(owners)}: who signs with it cannot be told"
    yield from _two_owners(rules)


def _two_owners(rules: Rules) -> Iterator[str]:
    owner: dict[str, str] = {}
    for _, person, keys in _holders(rules):
        for key in keys:
            if owner.setdefault(key, person) != person:
                yield f"one key is that of {owner[key]!r} and of {person!r}: who signs with it cannot be told"


def _holders(rules: Rules) -> list[tuple[str, str, tuple[str, ...]]]:
    """Give everybody who may do something, with the keys for it."""
    return [("approve", *each) for each in rules.approvers.items()] + [
        ("break the glass", *each) for each in rules.glass.items()
    ]


def _bad_times(rules: Rules) -> Iterator[str]:
    held = {key for _, _, keys in _holders(rules) for key in keys}
    for key, limits in rules.validity.items():
        if key not in held or not any(limits):
            yield f"it is said when a key counts that is nobody's, or nothing is said: {key[:60]}"
        for limit in limits:
            try:
                _moment(limit or "2000-01-01T00:00:00Z")
            except (TypeError, ValueError):
                yield f"the key {key[:60]} counts from or until {limit!r}, which is no time in UTC"


def _bad_freezes(rules: Rules) -> Iterator[str]:
    for each in rules.freezes:
        if not _is_name(each.name):
            yield "a freeze has no name"
        if wrong := windows.problem(each):
            yield wrong
    for name, count in Counter(each.name for each in rules.freezes).items():
        if count > 1:
            yield f"{count} freezes are called {name!r}"


def _moment(text: str) -> datetime:
    """Read a time. Raises ValueError for one that does not say UTC."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo != UTC:
        raise ValueError(f"{text!r} is no time in UTC")
    return moment


# Stricter or weaker


@dataclass(frozen=True)
class Change:
    """What becomes of a target's rules. `reasons` says what differs, weakenings first. Weaker in one thing is weaker."""

    kind: Literal["equal", "stricter", "weaker"]
    reasons: list[str]


def compare(old: Rules, new: Rules) -> Change:
    """Say whether `new` lets pass what `old` would not.

    Weaker are: fewer people; another who may approve or break the glass; another key of one, or a longer time for it; a longer expiry; no scan
    any more; a freeze that is gone or shorter; an identity that is gone, or another person's now. A new identity is not: that somebody is known now lets his
    commits pass that were refused before, so it is named, but whoever joins could not be enrolled otherwise.
    """
    weaker: list[str] = []
    stricter: list[str] = []
    for is_weaker, reason in _differences(old, new):
        (weaker if is_weaker else stricter).append(reason)
    if weaker:
        return Change("weaker", weaker + stricter)
    return Change("stricter" if stricter else "equal", stricter)


def together(old: Rules, new: Rules) -> Rules:
    """Give what either demands, by which a change is judged that is weaker in something: what is stricter in it counts at once.

    Who approves is of the old rules, and of the new ones only where nobody need by the old ones.
    """
    who = old
    if not old.people:
        who = new
    elif new.people:
        people = min(max(old.people, new.people), len(old.approvers))
        who = replace(old, people=people, expires_s=min(old.expires_s, new.expires_s))
    glass = {each: both for each in old.glass if (both := _both(old.glass[each], new.glass.get(each, ())))}
    keys = {key for holders in (who.approvers, glass) for each in holders.values() for key in each}
    limits = {**new.validity, **old.validity}
    return replace(
        who,
        scan="required" if "required" in (old.scan, new.scan) else "none",
        freezes=tuple(dict.fromkeys((*old.freezes, *new.freezes))),
        glass=glass,
        validity={key: limit for key, limit in limits.items() if key in keys},
    )


def _both(some: Keys, others: Keys) -> tuple[str, ...]:
    return tuple(sorted(set(some) & set(others)))


def _differences(old: Rules, new: Rules) -> Iterator[tuple[bool, str]]:
    """Each difference, and whether it is a weakening."""
    if new.people != old.people:
        yield new.people < old.people, f"{_people(old.people)} had to approve, now {_people(new.people)}"
    if new.scan != old.scan:
        is_weaker = new.scan != "required"
        yield is_weaker, f"a scan {'need not have passed any longer' if is_weaker else 'must have passed now'}"
    yield from _freezes(old, new)
    yield from _holders_of(old, new, old.glass, new.glass, "break the glass")
    if not old.people or not new.people:
        return  # with nobody to approve, there is nothing that the rest could say of
    yield from _holders_of(old, new, old.approvers, new.approvers, "approve")
    if new.expires_s != old.expires_s:
        yield new.expires_s > old.expires_s, f"approvals counted for {old.expires_s} s, now for {new.expires_s} s"
    yield from _identities(old, new)


def _freezes(old: Rules, new: Rules) -> Iterator[tuple[bool, str]]:
    """A freeze may have another name, or be part of a longer one; that one which is over is gone is told all the same."""
    for each in sorted(set(old.freezes) - set(new.freezes)):
        longer = next((other for other in new.freezes if windows.covers(other, each)), None)
        yield longer is None, f"the freeze {each} {f'is part of {longer}' if longer else 'is gone, or shorter'}"
    for each in sorted(set(new.freezes) - set(old.freezes)):
        yield False, f"there is the freeze {each}"


def _holders_of(
    old: Rules, new: Rules, before: Mapping[str, Keys], after: Mapping[str, Keys], may: str
) -> Iterator[tuple[bool, str]]:
    for person in sorted({*before, *after}):
        if person not in before:
            yield True, f"{person!r} may {may} now"
        elif person not in after:
            yield False, f"{person!r} may not {may} any longer"
        else:
            yield from _keys(person, old, new, set(before[person]), set(after[person]))


def _keys(person: str, old: Rules, new: Rules, before: set[str], after: set[str]) -> Iterator[tuple[bool, str]]:
    for key in sorted(before ^ after):
        name = sshkeys.fingerprint(key)
        yield key in after, f"{person!r} {'has another' if key in after else 'has no longer the'} key {name}"
    for key in sorted(before & after):
        then, now = (rules.validity.get(key, (None, None)) for rules in (old, new))
        if then != now:
            yield not _within(now, then), f"the key {sshkeys.fingerprint(key)} of {person!r} counts for another time"


def _within(inner: Validity, outer: Validity) -> bool:
    """Tell whether a time is part of another."""
    (since, until), (outer_since, outer_until) = inner, outer
    begins = outer_since is None or (since is not None and _moment(since) >= _moment(outer_since))
    ends = outer_until is None or (until is not None and _moment(until) <= _moment(outer_until))
    return begins and ends


def _identities(old: Rules, new: Rules) -> Iterator[tuple[bool, str]]:
    for identity in sorted({*old.identities, *new.identities}):
        before, after = old.identities.get(identity), new.identities.get(identity)
        if after is None:
            yield True, f"nobody knows any longer that {identity} is {before!r}"
        elif before is None:
            yield False, f"{identity} is known to be {after!r} now"
        elif before != after:
            yield True, f"{identity} was {before!r}, and is {after!r} now"

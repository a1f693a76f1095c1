from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.plans import command

from pipeline.audit import verify
from pipeline.errors import VerificationFailed
from pipeline.record import identities, runs

if TYPE_CHECKING:
    from pathlib import Path

    from support.plans import House

WHO = "github https://github.com ada/shop 123"


def opened(house: House, identity: str | None = WHO) -> str:
    return house.open(command("one", "true"), identity=identity)


def broken(house: House) -> list[str]:
    audit = verify.Audit(house.store, None)
    found = [each for run_id in runs.run_ids(house.store) for each in audit.run(run_id).findings] + audit.rest()
    return [str(each) for each in found if each.grade == "broken"]


def test_the_first_names_its_run_and_all_others_get_that_one(house: House) -> None:
    first, second = opened(house), opened(house)
    assert runs.of_identity(house.store, WHO) is None
    assert identities.name(house.store, WHO, first) == first
    assert identities.name(house.store, WHO, second) == first
    assert runs.of_identity(house.store, WHO) == first
    assert runs.yielded_to(house.store, second) == first
    assert runs.yielded_to(house.store, first) is None
    assert runs.find(house.store, "latest") == first
    assert broken(house) == []
    house.drive(second)  # somebody names it, and uses it all the same
    assert runs.find(house.store, "latest") == second


def test_an_unused_run_is_not_asked_for_its_stages(house: House) -> None:
    first, second = opened(house), opened(house)
    identities.name(house.store, WHO, first)
    audit = verify.Audit(house.store, None)
    assert audit.run(second).findings == []
    assert [each.grade for each in audit.run(first).findings] == ["missing"]


def test_a_run_that_does_not_say_the_same_is_not_gone_on_with(house: House) -> None:
    for identity in (None, "github https://github.com ada/shop 124"):
        other = opened(house, identity)
        key = identities.key_of(WHO)
        (house.store.root / key).unlink(missing_ok=True)
        assert house.store.put_new(key, identities.encode(WHO, other))
        with pytest.raises(VerificationFailed, match="does not say that it is of"):
            runs.of_identity(house.store, WHO)
        assert len(broken(house)) == 1


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"v":1,"identity":"x","run":"../../x"}', b"\xff"])
def test_what_is_no_identity_is_refused_by_name(house: House, data: bytes) -> None:
    key = identities.key_of(WHO)
    house.store.put_new(key, data)
    with pytest.raises(VerificationFailed, match=key):
        runs.of_identity(house.store, WHO)
    assert key in broken(house)[0]


def test_an_identity_in_anothers_place_is_refused(house: House) -> None:
    run_id = opened(house)
    house.store.put_new(identities.key_of("another"), identities.encode(WHO, run_id))
    with pytest.raises(VerificationFailed, match="another's place"):
        runs.of_identity(house.store, "another")


def test_a_runner_killed_before_it_could_name_its_run_keeps_nobody_out(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_new = type(house.store).put_new

    def dies(store: object, key: str, data: bytes | Path) -> bool:
        if key.startswith(identities.PREFIX):
            os._exit(9)
        return put_new(house.store, key, data)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(type(house.store), "put_new", dies)
        identities.name(house.store, WHO, opened(house))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert runs.of_identity(house.store, WHO) is None
    assert identities.name(house.store, WHO, second := opened(house)) == second
    assert broken(house) == []

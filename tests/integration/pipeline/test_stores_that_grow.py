"""Lists, bundles and prunes of a store in a bucket."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from support import s3 as support
from support.approvers import rules
from support.gated import ASKED, decide, gated
from support.plans import House, command

from pipeline import bundle
from pipeline.audit.verify import Audit
from pipeline.errors import VerificationFailed, Waiting
from pipeline.prune import runs as pruning
from pipeline.record import artifacts, runs, waiting
from pipeline.record.store import directory, s3
from pipeline.signing import signers
from stages.limits import LIMITS

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.plan import PlannedStage
    from pipeline.record.store import Store


@pytest.fixture
def house(server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A project whose store is in a bucket."""
    bucket = support.make_bucket(server)
    for name, value in bucket.variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "project").mkdir()
    return House(tmp_path / "project", s3.open_store(f"s3://{bucket.name}/shop", create=True))  # type: ignore[arg-type] # as good as a directory


def make(content: str) -> PlannedStage:
    script = f"mkdir $TOWPATH_OUTPUTS/thing; echo {content} > $TOWPATH_OUTPUTS/thing/file"
    return command("make", script, outputs=["thing"])


def carried(path: Path, store: Store) -> int:
    with path.open("rb") as file:
        found = bundle.read(file, path.name)
        bundle.admit(found, store, None)
        return bundle.add(found, store)


def test_what_waits_is_told_by_one_request(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert waiting.listed(house.store) == {}
    ids = [house.open(gated(house, rules()), **ASKED) for _ in range(2)]
    for run_id in ids:
        with pytest.raises(Waiting):
            house.drive(run_id)
    decide(house, ids[0], "alice")
    house.drive(ids[0])
    asked: list[str] = []
    events = house.store._bucket._s3.meta.events  # type: ignore[attr-defined] # it is a bucket
    events.register("before-send.s3", lambda request, **_: asked.append(request.url))
    assert waiting.listed(house.store) == {ids[1]: [("migrate", 1)]}
    assert len(asked) == 1


def test_a_bundle_goes_from_a_bucket_to_a_directory_and_back(house: House, server: int, tmp_path: Path) -> None:
    run_id = house.open(make("thing"), gated(house, rules()), **ASKED)
    with pytest.raises(Waiting):
        house.drive(run_id)
    here, there = tmp_path / "here.tar", tmp_path / "there.tar"
    bundle.write(house.store, [run_id], here)
    near = directory.open_store(tmp_path / "near", create=True)
    carried(here, near)
    bundle.write(near, [run_id], there)
    assert here.read_bytes() == there.read_bytes()
    assert carried(there, house.store) == 0
    local = House(house.project, near, house.plans)
    decide(local, run_id, "alice")
    local.drive(run_id)
    bundle.write(near, [run_id], there)
    assert carried(there, house.store) > 0
    assert runs.load(house.store, run_id).done("migrate")
    assert Audit(house.store, None).run(run_id).findings == []


def test_a_bucket_is_pruned_and_still_verifies(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    old, kept = house.open(make("old")), house.open(make("kept"))
    for run_id in (old, kept):
        house.drive(run_id)
    rule = pruning.Rule(keep=1, older_than_s=0)
    assert pruning.survey(house.store, rule).removals == {}  # put today
    limits = dataclasses.replace(LIMITS, prune_grace_s=-60.0)
    monkeypatch.setattr("pipeline.prune.runs.LIMITS", limits)
    found = pruning.survey(house.store, rule)
    [removed] = pruning.remove(house.store, found, rule, house.key, lambda _: None)
    assert removed.run == old
    with pytest.raises(VerificationFailed, match="was pruned on"):
        artifacts.materialise(house.store, house.load(old).attempts["make"][0].outputs["thing"], house.project / "out")
    trust = signers.trust(f'builder namespaces="towpath" {house.key.public.line}\n', "trust")
    audit = Audit(house.store, trust)
    assert {audit.run(each).verdict for each in (old, kept)} == {"authentic"}
    assert audit.rest() == []
    assert audit.run(old).pruned

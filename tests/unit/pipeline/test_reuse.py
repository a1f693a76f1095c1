"""What a stage may save work by: only what the record proves, under our own seal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.signing import new_key

from pipeline import reuse
from pipeline.plan import Plan, PlannedStage
from pipeline.record import artifacts, chain, digest, runs
from pipeline.record.store import directory
from pipeline.record.writer import ChainWriter

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.record.store import Store
    from pipeline.signing.keys import Key


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return directory.open_store(tmp_path / "store", create=True)


@pytest.fixture
def key() -> Key:
    return new_key()


def _stage(name: str = "build", kind: str = "build", template: str = "template.yaml") -> PlannedStage:
    return PlannedStage(
        name,
        kind,
        [],
        {"template": template},
        {},
        None,
        None,
        60,
        idempotent=True,
        files={template: "sha256:" + "0" * 64},
    )


def _run(
    store: Store,
    key: Key,
    stage: PlannedStage,
    folder: Path,
    *,
    says: str,
    outcome: str = "succeeded",
    seal: Key | None = None,
) -> str:
    """A run whose one stage handed on an images.json that says something."""
    plan = Plan("p", {}, {}, {stage.name: stage})
    run_id = runs.open_run(store, {"plan": artifacts.put_json(store, plan.as_json())}, key)
    run = runs.load(store, run_id)
    output = folder / run_id / "outputs" / "images"
    output.mkdir(parents=True)
    (output / "images.json").write_text(json.dumps({"says": says}))
    writer = ChainWriter(store, runs.chain_name(run_id, f"{stage.name}.1"), seal or key)
    claim: dict[str, Any] = {"opening": run.head.digest, "stage": stage.name, "attempt": 1, "executor": "x"}
    writer.open({**claim, "inputs": {}, "builds_on": [], "follows": None})
    writer.append(chain.PHASE_INTENDED, {"phase": "apply", "handle": "h", "request": "sha256:", "source": None})
    outputs = {"images": artifacts.collect(store, folder / run_id, "images")}
    told = {"phase": "apply", "outcome": outcome, "status": 0, "outputs": outputs, "facts": {}}
    writer.append(chain.PHASE_FINISHED, {**told, "statements": [], "proposal": None, "failure": None, "log": {}})
    writer.close({"outcome": outcome, "log": {}})
    return run_id


def _found(store: Store, key: Key, stage: PlannedStage | None = None) -> str | None:
    previous = reuse.find(store, "this-run", stage or _stage(), key)
    return json.loads(previous.files["previous/images/images.json"])["says"] if previous else None


def test_the_latest_success_is_found_and_named(store: Store, key: Key, tmp_path: Path) -> None:
    assert reuse.find(store, "this-run", _stage(), key) is None
    _run(store, key, _stage(), tmp_path, says="old")
    latest = _run(store, key, _stage(), tmp_path, says="new")
    _run(store, key, _stage(), tmp_path, says="failed", outcome="failed")
    assert _found(store, key) == "new"
    previous = reuse.find(store, "this-run", _stage(), key)
    assert previous is not None
    assert previous.folders == {"images": "previous/images"}
    assert previous.as_json()["attempt"]["chain"] == f"runs/{latest}/build.1"


def test_a_run_does_not_reuse_itself(store: Store, key: Key, tmp_path: Path) -> None:
    run_id = _run(store, key, _stage(), tmp_path, says="own")
    assert reuse.find(store, run_id, _stage(), key) is None


@pytest.mark.parametrize("other", [_stage(template="other.yaml"), _stage("scan", "scan"), _stage("build", "package")])
def test_another_kind_or_another_template_is_passed_over(
    store: Store, key: Key, tmp_path: Path, other: PlannedStage
) -> None:
    _run(store, key, _stage(), tmp_path, says="ours")
    _run(store, key, other, tmp_path, says="theirs")
    assert _found(store, key) == "ours"


def test_a_stage_of_another_name_is_the_same_work(store: Store, key: Key, tmp_path: Path) -> None:
    _run(store, key, _stage("images"), tmp_path, says="ours")
    assert _found(store, key) == "ours"


def test_a_kind_that_reuses_nothing_finds_nothing(store: Store, key: Key, tmp_path: Path) -> None:
    _run(store, key, _stage("invoke", "invoke"), tmp_path, says="x")
    assert _found(store, key, _stage("invoke", "invoke")) is None


def test_what_somebody_else_sealed_is_passed_over(store: Store, key: Key, tmp_path: Path) -> None:
    """Catches trust in whoever can write to the store."""
    _run(store, key, _stage(), tmp_path, says="ours")
    _run(store, key, _stage(), tmp_path, says="theirs", seal=new_key())
    assert _found(store, key) == "ours"


def _tamper(store: Store, run_id: str, name: str, old: bytes, new: bytes) -> None:
    from pathlib import Path

    path = Path(store.location) / "runs" / run_id / name
    data = path.read_bytes()
    assert old in data
    path.chmod(0o644)
    path.write_bytes(data.replace(old, new))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("build.1/00000002.json", (b'"status":0', b'"status":1')),
        ("build.1/00000003.json", (b'"succeeded"', b'"succeedeD"')),
        ("build.1/seal.json", (b'"sig":"', b'"sig":"A')),
        ("open/00000001.json", (b'"plan"', b'"plaN"')),
    ],
)
def test_a_chain_that_does_not_verify_is_passed_over(
    store: Store, key: Key, tmp_path: Path, name: str, change: tuple[bytes, bytes]
) -> None:
    _run(store, key, _stage(), tmp_path, says="old")
    run_id = _run(store, key, _stage(), tmp_path, says="new")
    assert _found(store, key) == "new"
    _tamper(store, run_id, name, *change)
    assert _found(store, key) == "old"


@pytest.mark.parametrize("seal", [True, False])
def test_a_chain_without_its_seal_or_with_other_bytes_handed_on_is_passed_over(
    store: Store, key: Key, tmp_path: Path, *, seal: bool
) -> None:
    from pathlib import Path

    _run(store, key, _stage(), tmp_path, says="old")
    run_id = _run(store, key, _stage(), tmp_path, says="new")
    if seal:
        path = Path(store.location) / "runs" / run_id / "build.1" / "seal.json"
    else:
        path = Path(store.location) / artifacts.blob_key(digest.of_bytes(b'{"says": "new"}'))
        path.chmod(0o644)
        path.write_bytes(b'{"says": "bad"}')
    if seal:
        path.unlink()
    assert _found(store, key) == "old"

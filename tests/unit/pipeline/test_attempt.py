from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest
from support.plans import command, killed_in, run_process

from pipeline import jobs
from pipeline.attempt import parse_line
from pipeline.errors import StageFailed
from pipeline.executors import Ended
from pipeline.record import artifacts, chain, runs, seals
from pipeline.record.writer import read_chain, read_log
from pipeline.signing import dsse
from stages.contract import Proposal, Result

if TYPE_CHECKING:
    from pathlib import Path

    from support.plans import House

    from pipeline.record.store.directory import DirectoryStore

STATEMENT: dict[str, object] = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [],
    "predicateType": "x",
    "predicate": {},
}


@pytest.mark.parametrize(
    ("line", "text", "fields"),
    [
        (b"plain", "plain", {}),
        (b'{"message": "built", "function": "Hello"}', "built", {"function": "Hello"}),
        (b'{"message": 3}', '{"message": 3}', {}),
        (b'{"other": "x"}', '{"other": "x"}', {}),
        (b"{broken", "{broken", {}),
        (b"[1]", "[1]", {}),
        (b"\xff\xfe", "\\xff\\xfe", {}),
        (b'{"message":' + b"[" * 60_000, '{"message":' + "[" * 60_000, {}),
    ],
)
def test_a_line_is_data_or_text_and_never_more(line: bytes, text: str, fields: dict[str, str]) -> None:
    assert parse_line(line) == (text, fields)


def test_every_attempt_is_sealed_by_the_runner(house: House) -> None:
    run = house.drive(house.open(command("a", "true"), command("b", "true", needs=("a",))))
    for name in ("open", "a.1", "b.1"):
        full = runs.chain_name(run.id, name)
        envelope, head = seals.decode(house.store.read(seals.seal_key(full)) or b"", full)
        assert envelope.signed_by(house.key.public)
        assert head == chain.head(read_chain(house.store, full), full)


def test_a_failed_attempt_is_sealed_too(house: House) -> None:
    run_id = house.open(command("a", "false"))
    with pytest.raises(StageFailed):
        house.drive(run_id)
    assert house.store.read(f"runs/{run_id}/a.1/seal.json")


def test_who_takes_over_says_how_far_the_log_went_and_does_not_seal_for_the_dead(house: House) -> None:
    flag = house.project / "slow.started"
    script = f"test -e {flag} && exit 0; echo said; sleep 5.5; echo more; touch {flag}; sleep 60"
    run_id = house.open(command("slow", script))
    assert killed_in(house, run_id, "slow").returncode == -signal.SIGKILL
    assert run_process(house, run_id).returncode == 0
    follows = house.load(run_id).attempts["slow"][1].follows
    log = f"runs/{run_id}/slow.1/log"
    assert follows is not None
    assert follows["log"] == chain.head(read_log(house.store, log), log).as_json()
    assert house.store.read(f"runs/{run_id}/slow.1/seal.json") is None


def test_a_result_that_the_record_has_is_adopted_and_nothing_done_over_again(house: House) -> None:
    script = f"echo x >>{house.project}/count; mkdir $TOWPATH_OUTPUTS/thing; echo it >$TOWPATH_OUTPUTS/thing/it"
    run_id = house.open(command("once", script, idempotent=False, outputs=["thing"]))
    assert run_process(house, run_id).returncode == 0
    before = house.load(run_id).attempts["once"][0]
    for name in ("00000003.json", "seal.json"):  # as if the runner had been killed before it closed the chain
        (house.store.root / f"runs/{run_id}/once.1/{name}").unlink()
    assert run_process(house, run_id).returncode == 0
    after = house.load(run_id).done("once")
    assert after is not None
    assert (after.number, after.outputs, after.facts) == (2, before.outputs, before.facts)
    types = [event.type for event in read_chain(house.store, f"runs/{run_id}/once.2")]
    assert types == [chain.CHAIN_OPENED, chain.RESULT_ADOPTED, chain.CHAIN_CLOSED]
    assert (house.project / "count").read_text() == "x\n"


def test_what_the_record_says_of_the_end_of_a_log_is_stored_before_it_is_said(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Result("succeeded", proposal=Proposal({}, {}, "a view\nof two lines"))
    monkeypatch.setattr(jobs, "run", lambda *_: (Ended(0, "exited"), result))
    stored: list[int] = []
    put_new = type(house.store).put_new

    def look(store: DirectoryStore, key: str, data: bytes | Path) -> bool:
        if isinstance(data, bytes) and b'"type":"phase.finished"' in data:
            said = json.loads(data)["data"]["log"]["length"]
            stored.append(len(read_log(store, key.rpartition("/")[0] + "/log")) - said)
        return put_new(store, key, data)

    monkeypatch.setattr(type(house.store), "put_new", look)
    house.drive(house.open(command("a", "true")))
    assert stored == [0]


def stating(monkeypatch: pytest.MonkeyPatch, *statements: dict[str, object]) -> None:
    """What the stage's process does is not of interest here; what is done with its statements is."""
    result = Result("succeeded", statements=list(statements))
    monkeypatch.setattr(jobs, "run", lambda *_: (Ended(0, "exited"), result))


def test_what_a_stage_states_is_signed_when_it_is_collected(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    stating(monkeypatch, STATEMENT)
    run_id = house.open(command("a", "true"))
    house.drive(run_id)
    finished = read_chain(house.store, f"runs/{run_id}/a.1")[2]
    (sha256,) = finished.data["statements"]
    envelope = dsse.parse(artifacts.read_blob(house.store, sha256, "x"), "x")
    assert envelope.type == "application/vnd.in-toto+json"
    assert envelope.signed_by(house.key.public)
    assert json.loads(envelope.payload) == STATEMENT


def test_what_is_no_statement_is_not_signed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    stating(monkeypatch, {"_type": "something else"})
    with pytest.raises(StageFailed, match="not an in-toto statement"):
        house.drive(house.open(command("a", "true")))


def test_no_stage_is_handed_the_key(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWPATH_KEY", str(house.key_path))
    run = house.drive(house.open(command("a", "env; cat $TMPDIR/../request.json; set")))
    said = [str(event.data) for event in read_log(house.store, runs.log_name(run.id, "a", 1))]
    assert not [line for line in said if "TOWPATH_KEY" in line or "runner.key" in line]

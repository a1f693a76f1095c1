from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
from support.plans import command, killed_in, run_process

from pipeline import jobs
from pipeline.attempt import parse_line
from pipeline.errors import StageFailed
from pipeline.executors import Ended
from pipeline.plan import PlannedStage, SecretSource
from pipeline.record import artifacts, chain, runs, seals
from pipeline.record.writer import read_chain, read_log
from pipeline.signing import dsse
from stages.contract import Failure, Proposal, Result

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
        (b"plain", b"plain", {}),
        (b'{"message": "built", "function": "Hello"}', b"built", {"function": "Hello"}),
        (b'{"message": 3}', b'{"message": 3}', {}),
        (b'{"other": "x"}', b'{"other": "x"}', {}),
        (b"{broken", b"{broken", {}),
        (b"[1]", b"[1]", {}),
        (b"\xff\xfe", b"\xff\xfe", {}),
        (b'{"message":' + b"[" * 60_000, b'{"message":' + b"[" * 60_000, {}),
        (b'{"message": "x", "a": NaN}', b'{"message": "x", "a": NaN}', {}),
        (b'{"message": "x", "a": "\\ud800"}', b'{"message": "x", "a": "\\ud800"}', {}),
    ],
)
def test_a_line_is_data_or_text_and_never_more(line: bytes, text: bytes, fields: dict[str, str]) -> None:
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


def test_what_no_record_can_hold_fails_no_stage(house: House) -> None:
    """Catches a runner that breaks on a number or a half character that JSON cannot be written with."""
    said = [b'{"message": "a", "x": NaN}', b'{"message": "b", "x": "\\ud800"}', b'{"message": "\\udfff"}', b"\xff"]
    (house.project / "said").write_bytes(b"\n".join(said) + b"\n")
    run = house.drive(house.open(command("a", f"cat {house.project}/said")))
    events = read_log(house.store, runs.log_name(run.id, "a", 1))[1:]
    assert [event.data["text"] for event in events] == [*(line.decode() for line in said[:3]), "\\xff"]


SECRET = {"TOKEN": SecretSource("variable", "OURS")}
VALUE = "correct-horse-battery"


def test_a_secret_is_handed_to_the_stage_that_names_it_alone_and_is_not_recorded(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", VALUE)
    has = f"test ${{#TOKEN}} = {len(VALUE)}; echo $TOKEN"
    run_id = house.open(
        command("a", has, secrets=SECRET), command("b", "env | grep -c -e TOKEN -e OURS || test $? = 1")
    )
    house.drive(run_id)
    texts = [event.data["text"] for event in read_log(house.store, runs.log_name(run_id, "a", 1))[1:]]
    assert texts == ["***"]
    assert read_log(house.store, runs.log_name(run_id, "b", 1))[1].data["text"] == "0"
    intended = read_chain(house.store, f"runs/{run_id}/a.1")[1]
    assert artifacts.read_json(house.store, intended.data["request"], "it")["secrets"] == ["TOKEN"]


def test_what_a_killed_attempt_left_of_a_secret_goes_when_the_next_one_begins(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", VALUE)
    flag = house.project / "a.started"
    script = f"test -e {flag} && exit 0; echo $TOKEN >$TMPDIR/left; touch {flag}; sleep 60"
    run_id = house.open(command("a", script, secrets=SECRET))
    assert killed_in(house, run_id, "a").returncode == -signal.SIGKILL
    assert list((house.project / ".towpath/work").rglob("left"))
    assert run_process(house, run_id).returncode == 0
    assert list((house.project / ".towpath/work").iterdir()) == []


def test_a_secret_that_goes_on_in_another_line_of_the_same_function_is_masked(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a build says it: each line a message, those of several functions mixed."""
    monkeypatch.setenv("OURS", VALUE)
    first, last = VALUE[:9], VALUE[9:]
    said = [("A", "x"), ("A", first), ("B", first), ("B", "other"), ("A", last), ("C", first)]
    lines = [json.dumps({"message": text, "function": function}) for function, text in said]
    script = "; ".join(f"echo '{line}'" for line in lines)
    run_id = house.open(command("a", script, secrets=SECRET))
    house.drive(run_id)
    events = read_log(house.store, runs.log_name(run_id, "a", 1))[1:]
    told = sorted((event.data["fields"]["function"], event.data["text"]) for event in events)
    assert told == sorted([("A", "x"), ("A", "***"), ("A", "***"), ("B", first), ("B", "other"), ("C", "***")])


def test_a_stage_whose_secret_is_missing_does_not_start(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OURS", raising=False)
    run_id = house.open(command("a", f"touch {house.project}/started", secrets=SECRET))
    with pytest.raises(StageFailed, match="stage a: the secret TOKEN is the variable OURS, which is not set"):
        house.drive(run_id)
    assert not (house.project / "started").exists()
    monkeypatch.setenv("OURS", VALUE)
    assert house.drive(run_id).done("a")


def test_an_output_that_holds_a_secret_fails_its_stage(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", VALUE)
    script = "mkdir -p $TOWPATH_OUTPUTS/o/d; {}"
    scripts = (
        "echo $TOKEN | base64 -w7 >$TOWPATH_OUTPUTS/o/d/f",
        "touch $TOWPATH_OUTPUTS/o/$TOKEN",
        "ln -s / $TOWPATH_OUTPUTS/o/$TOKEN",
    )
    told = (
        "the output d/f holds the secret TOKEN",
        r"the output \*\*\* holds the secret TOKEN",
        r"the output \*\*\* is not collected",
    )
    for each, message in zip(scripts, told, strict=True):
        run_id = house.open(command("a", script.format(each), outputs=["o"], secrets=SECRET))
        with pytest.raises(StageFailed, match=f"stage a: {message}"):
            house.drive(run_id)
    assert list((house.project / ".towpath/work").iterdir()) == []


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
def test_a_statement_that_holds_a_secret_is_not_signed(
    house: House, monkeypatch: pytest.MonkeyPatch, outcome: Any
) -> None:
    monkeypatch.setenv("OURS", VALUE)
    result = Result(outcome, statements=[{**STATEMENT, "predicate": {"x": [VALUE]}}])
    monkeypatch.setattr(jobs, "run", lambda *_: (Ended(0, "exited"), result))
    with pytest.raises(StageFailed, match="a statement of the stage holds the secret TOKEN"):
        house.drive(house.open(command("a", "true", secrets=SECRET)))


def test_what_a_stage_tells_of_itself_is_masked(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", VALUE)
    failure = Failure("retryable", f"no login with {VALUE}", VALUE, f"not {VALUE}")
    proposal = Proposal({"x": VALUE}, {"y": [VALUE]}, f"line\n{VALUE}")
    result = Result("failed", facts={VALUE: [VALUE]}, proposal=proposal, failure=failure)
    monkeypatch.setattr(jobs, "run", lambda *_: (Ended(1, "exited"), result))
    run_id = house.open(command("a", "true", secrets=SECRET))
    with pytest.raises(StageFailed, match=r"no login with \*\*\*"):
        house.drive(run_id)
    last = house.load(run_id).last("a")
    assert last is not None
    assert last.failure == Failure("retryable", "no login with ***", "***", "not ***")
    assert last.facts == {"***": ["***"]}
    assert read_log(house.store, runs.log_name(run_id, "a", 1))[2].data["text"] == "***"


def test_what_breaks_a_runner_says_no_secret(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", VALUE)

    def broken(*_: object) -> None:
        raise RuntimeError(f"broken with {VALUE}")

    monkeypatch.setattr(jobs, "run", broken)
    with pytest.raises(RuntimeError, match=r"broken with \*\*\*"):
        house.drive(house.open(command("a", "true", secrets=SECRET)))


def test_no_stage_is_handed_the_key(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWPATH_KEY", str(house.key_path))
    run = house.drive(house.open(command("a", "env; cat $TMPDIR/../request.json; set")))
    said = [str(event.data) for event in read_log(house.store, runs.log_name(run.id, "a", 1))]
    assert not [line for line in said if "TOWPATH_KEY" in line or "runner.key" in line]


def test_a_proposal_is_fresh_only_to_the_attempt_that_made_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the record says of the outside world is not what this attempt has seen of it."""
    asked: list[tuple[str, bool]] = []
    results = [
        Result("succeeded", proposal=Proposal({}, {"seen": 1}, "")),
        Result("failed", failure=Failure("retryable", "lost sight of it")),
        Result("succeeded"),
    ]

    def run(job: jobs.Phase, *_: object) -> tuple[Ended, Result]:
        asked.append((job.request.phase, job.request.fresh))
        return Ended(0, "exited"), results[len(asked) - 1]

    monkeypatch.setattr(jobs, "run", run)
    run_id = house.open(PlannedStage("free", "recover", [], {"skip": []}, {}, None, None, 60, idempotent=True))
    with pytest.raises(StageFailed):
        house.drive(run_id)
    house.drive(run_id)
    assert asked == [("propose", False), ("apply", True), ("apply", False)]

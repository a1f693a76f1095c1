"""audit verify, audit show: what the record proves, for people who were not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from pipeline.cli import common
from pipeline.errors import Incomplete, UsageError, VerificationFailed

if TYPE_CHECKING:
    from pipeline.audit.findings import Finding
    from pipeline.audit.run import Report
    from pipeline.record.store import Store

_COLOURS = {"authentic": "green", "consistent": "yellow", "incomplete": "yellow", "broken": "red", "missing": "yellow"}
_WORDS = {"consistent": "consistent, not authenticated"}
_SHOWN_FINDINGS = 20


@click.group()
def audit() -> None:
    """Prove what a run left, or read it. Needs no network, no engine, and no right to write."""


@audit.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--all", "every", is_flag=True, help="All runs of the store, and everything else it holds.")
@click.option(
    "--trust",
    envvar="TOWPATH_TRUST",
    metavar="FILE",
    help='The keys that count, as OpenSSH\'s allowed_signers: builder,gate namespaces="towpath" ssh-ed25519 AAAA…',
)
@click.option(
    "--heads",
    metavar="FILE",
    help="What `towpath audit heads` printed at some time before: nothing of it may be gone or changed.",
)
@common.project
@common.store
@common.as_json
def verify(
    *,
    run_id: str | None,
    project: str,
    store: str | None,
    trust: str | None,
    heads: str | None,
    every: bool,
    as_json: bool,
) -> None:
    """Verify RUN (default: the latest): chains, seals, plan, artifacts, requests, statements, scans, logs, ledgers with the
    approvals in them, what was found running.

    \b
    Exit codes:
      0  authentic: all of it holds, sealed by keys that --trust enrols
      4  something does not hold; the first thing is named
      7  it holds as far as it goes: without --trust it is consistent, not authenticated;
         or an attempt is open, a seal is missing, the run is not finished
    """
    from pipeline.audit import heads as ends
    from pipeline.audit import verify as verifying
    from pipeline.record import runs

    if run_id and every:
        raise UsageError("a run and --all: which of them?", hint="Name a run, or say --all.")
    trusted = common.trusted(trust)
    opened = _open(store, Path(project))
    wanted = runs.run_ids(opened) if every else [common.find_run(opened, run_id or "latest")]
    audit = verifying.Audit(opened, trusted)
    reports = [audit.run(each) for each in wanted]
    rest = audit.rest() if every else []
    if heads:
        rest += ends.compare(opened, ends.read(common.read_text(heads, "the file of heads"), heads), heads)
    _print(reports, rest, as_json=as_json)
    _end(reports, rest)


@audit.command()
@click.argument("run_id", metavar="[RUN]", default="latest")
@common.project
@common.store
@common.as_json
def show(run_id: str, project: str, store: str | None, *, as_json: bool) -> None:
    """Show RUN (default: the latest): when, who asked, from which commit, every attempt with what went in and out, who decided
    what, and what the ledgers say of it.
    """
    from pipeline.audit import show as showing

    opened = common.open_store(store, Path(project))
    story = showing.show(opened, common.find_run(opened, run_id))
    if as_json:
        common.print_json(story)
    else:
        _tell(story)


@audit.command()
@common.project
@common.store
def heads(project: str, store: str | None) -> None:
    """Print where every chain of the store ends, a line of JSON each: keep it elsewhere, for `audit verify --heads`."""
    from pipeline.audit import heads as ends

    for head in ends.heads(_open(store, Path(project))):
        click.echo(json.dumps(head, separators=(",", ":")))


def _open(store: str | None, project: Path) -> Store:
    """Open the store; one that does not say what it is does not hold."""
    from pipeline.record.store import StoreError

    try:
        return common.open_store(store, project)
    except StoreError as error:
        raise VerificationFailed(error.message, hint=error.hint, where="format.json") from error


def _print(reports: list[Report], rest: list[Finding], *, as_json: bool) -> None:
    from pipeline.audit import telling

    if as_json:
        listed = [telling.as_json(report) for report in reports]
        common.print_json({"runs": listed, "store": [each.as_json() for each in rest]})
        return
    for report in reports:
        word = click.style(_WORDS.get(report.verdict, report.verdict), fg=_COLOURS[report.verdict], bold=True)
        gone = sum(len(each.contents) for each in report.pruned.values())
        click.echo(f"run {report.run}  {_plain(report.name)}  {word}" + (f"  {gone} files pruned" if gone else ""))
        _print_findings(report.findings)
    _print_findings(rest)
    if len(reports) == 1:
        _print_list("Proved", telling.proved(reports[0]))
        _print_list("Not proved", telling.not_proved(reports[0]))


def _print_findings(findings: list[Finding]) -> None:
    for each in findings[:_SHOWN_FINDINGS]:
        click.echo(f"  {click.style(each.grade, fg=_COLOURS[each.grade])}  {_plain(str(each))}")
    if len(findings) > _SHOWN_FINDINGS:
        click.echo(f"  and {len(findings) - _SHOWN_FINDINGS} more: --json lists all")


def _print_list(title: str, lines: list[str]) -> None:
    if lines:
        click.echo(f"\n{title}")
        for line in lines:
            click.echo(f"  - {_plain(line)}")


def _end(reports: list[Report], rest: list[Finding]) -> None:
    """End with the gravest of what was found. Raises VerificationFailed, Incomplete."""
    findings = [each for report in reports for each in report.findings] + rest
    for each in findings:
        if each.grade == "broken":
            _raise(VerificationFailed, each, "Do not deploy from this record. Compare it with a copy, if there is one.")
    for each in findings:
        _raise(Incomplete, each, "What is there holds. If the run is not finished: towpath resume")
    if any(not report.trust for report in reports):
        hint = "Name the keys that count with --trust FILE. `towpath doctor` prints the line for this machine's key."
        raise Incomplete("the record is consistent, not authenticated: no key is pinned", hint=hint)


def _raise(error: type[VerificationFailed | Incomplete], finding: Finding, hint: str) -> NoReturn:
    raise error(_plain(str(finding)), hint=hint, where=finding.key)


def _tell(story: dict[str, Any]) -> None:
    from pipeline.cli import report

    source, requester = story["source"] or {}, story["requester"] or {}
    clean = {True: "clean", False: "with changes that are in no commit", None: "not known"}[source.get("clean")]
    asked = f"{requester.get('user')} on {requester.get('host')}"
    asked += f" <{requester['email']}>" if requester.get("email") else ""
    asked += f" for {requester['login']}" if requester.get("login") else ""
    rows = {
        "opened": story["opened_at"],
        "asked for by": asked,
        "source": f"commit {source.get('commit') or 'unknown'}, {clean}",
        "plan": story["plan"],
        "way": report.way(story["way"]),
        "towpath": story["version"],
        "sealed by": story["sealed_by"] or "nobody",
    }
    click.echo(f"run {story['run']}  {_plain(story['name'])}")
    for name, value in rows.items():
        if value:
            click.echo(f"  {name:<13} {_plain(value)}")
    for each in story["attempts"]:
        _tell_attempt(each)
    for each in story["decisions"]:
        click.echo(f"\n{each['person']} said {each['decision']} to {each['stage']} at {each['made_at']}")
        click.echo(f"  reason        {_plain(each['reason'])}")
    for each in story["ledgers"]:
        people = ", ".join(approval["person"] for approval in each.get("approvals") or [])
        click.echo(f"\n{each['ledger']}, event {each['seq']}: {each['type']}")
        for name, value in {
            "at": each["at"],
            "stage": each.get("stage"),
            "approved by": people,
            "outcome": each.get("outcome"),
            "reason": each.get("reason"),
        }.items():
            if value:
                click.echo(f"  {name:<13} {_plain(value)}")


def _tell_attempt(attempt: dict[str, Any]) -> None:
    click.echo(f"\n{attempt['stage']}, attempt {attempt['attempt']}: {attempt['outcome'] or 'not closed'}")
    click.echo(f"  {attempt['opened_at']} to {attempt['closed_at'] or '?'}, on {_plain(attempt['host'])}")
    if attempt["failure"]:
        click.echo(f"  failed        {_plain(attempt['failure'])}")
    for name, each in attempt["inputs"].items():
        click.echo(f"  in            {name} {each['artifact']}, of {each['stage']} attempt {each['attempt']}")
    for name, sha256 in attempt["outputs"].items():
        click.echo(f"  out           {name} {sha256}")
    if isinstance(attempt["isolation"], dict):
        click.echo(f"  isolated by   {_plain(attempt['isolation'].get('mode'))}")
    if attempt["gate"]:
        click.echo(f"  gate          {attempt['gate']['state']}: {_plain('; '.join(attempt['gate']['reasons']))}")
    scan = attempt["facts"].get("scan")
    for config, each in scan["images"].items() if isinstance(scan, dict) else ():
        click.echo(
            f"  verdict       {_plain(each['verdict'])} on {_plain(', '.join(each['functions']))} ({_plain(config)})"
        )
    functions = attempt["facts"].get("functions")
    for name, each in functions.items() if isinstance(functions, dict) else ():
        if isinstance(each, dict) and "image" in each:
            click.echo(f"  image         {_plain(name)} {_plain(each['image'])}")
    click.echo(f"  sealed by     {attempt['sealed_by'] or 'nobody'}")


def _plain(text: object) -> str:
    from pipeline.cli.progress import plain

    return plain("" if text is None else str(text))

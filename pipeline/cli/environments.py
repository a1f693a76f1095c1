"""environments: what runs where, and whether it is still what was deployed."""

from __future__ import annotations

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import common
from pipeline.errors import InvalidDefinition, StageFailed, UsageError, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.credentials import Lender
    from pipeline.environments import Place
    from pipeline.record.ledger import Ledger
    from pipeline.record.store import Store
    from pipeline.signing.signers import Trust
    from stages.contract import Access

_AT_ONCE = 4
"""Environments of which AWS is asked at the same time: each is a process."""


class _Environments(click.Group):
    """A group whose own argument is an environment: the name of a command below it is none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return ["bootstrap"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        from pipeline.cli.bootstrap import bootstrap

        return bootstrap if cmd_name == "bootstrap" else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        below = args[:1] == ["bootstrap"]
        ctx.allow_interspersed_args = not below
        return super().parse_args(ctx, ["", *args] if below else args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] != "bootstrap":
            raise UsageError(f"{args[0]!r} is one environment too many", hint="Two are compared by: ENV --diff OTHER")
        return super().resolve_command(ctx, args)


@click.group(cls=_Environments, invoke_without_command=True, subcommand_metavar="[COMMAND [ARGS]...]")
@click.argument("environment", metavar="[ENV]", default="")
@click.option("--diff", "other", metavar="OTHER", help="Show only in what ENV differs from this environment.")
@click.option(
    "--drift",
    is_flag=True,
    help="Ask AWS whether what runs is still what was deployed; exit code 4 if it was changed outside Towpath.",
)
@common.file
@common.project
@common.store
@common.trust
@common.as_json
@click.pass_context
def environments(
    context: click.Context,
    *,
    environment: str,
    other: str | None,
    drift: bool,
    file: str | None,
    project: str,
    store: str | None,
    trust: str | None,
    as_json: bool,
) -> None:
    """Show what runs where, since when, from which commit, and who approved it, as the ledgers of the store tell it.

    With ENV: its images, parameters, rules and last deployments. Environments of pipeline.yaml come first, then those that only
    the store knows.
    """
    if context.invoked_subcommand:
        return
    if other and not environment:
        raise UsageError("--diff compares two environments, and one is named", hint="Write: ENV --diff OTHER")
    if other and drift:
        raise UsageError("--diff and --drift are two questions", hint="Ask one after the other.")
    definition = common.definition_file(file, project)
    places = _Places(common.open_store(store, definition.absolute().parent), common.trusted(trust))
    places.find(defined(definition, must_be=bool(file)))
    if other:
        _differ(places, environment, other, as_json=as_json)
        return
    chosen = [places.named(environment)] if environment else list(places.all.values())
    states, broken = places.states(chosen, in_detail=bool(environment) or drift)
    if drift:
        _ask(places, [each for each in chosen if each.name in states], list(states.values()))
    if states:
        _print(list(states.values()), in_detail=bool(environment), as_json=as_json)
    _leave(list(states.values()), broken)


class _Places:
    """The environments there are, and what is recorded of each."""

    def __init__(self, store: Store, trust: Trust | None) -> None:
        self.store, self.trust = store, trust
        self.all: dict[str, Place] = {}

    def find(self, defined: Iterable[Place]) -> None:
        """Take those of the definition, and those that only the store knows under names that are still free."""
        from pipeline import environments

        self.all = {each.name: each for each in defined}
        known = {each.ledger for each in self.all.values()}
        for each in environments.of_store(self.store, known, self.trust):
            name = each.name if each.name not in self.all else each.ledger.removeprefix("ledgers/")
            self.all[name] = replace(each, name=name)

    def named(self, name: str) -> Place:
        from difflib import get_close_matches

        if name not in self.all:
            close = get_close_matches(name, self.all, n=1)
            known = f"There are: {', '.join(self.all)}." if self.all else "The store knows none either."
            hint = f"Did you mean {close[0]!r}?" if close else known
            raise UsageError(f"there is no environment {name!r}", hint=hint)
        return self.all[name]

    def ledger(self, place: Place) -> Ledger:
        from pipeline.record import ledgers

        return ledgers.read(self.store, place.ledger, self.trust)

    def states(
        self, places: list[Place], *, in_detail: bool
    ) -> tuple[dict[str, dict[str, Any]], dict[str, VerificationFailed]]:
        """Give what is told of each, and why nothing is told of others: what does not hold of one hides no other."""
        told, broken = {}, {}
        for each in places:
            try:
                told[each.name] = self.state(each, in_detail=in_detail)
            except VerificationFailed as error:
                broken[each.name] = error
        return told, broken

    def state(self, place: Place, *, in_detail: bool) -> dict[str, Any]:
        from pipeline import environments

        told = environments.told(place, self.ledger(place))
        if not in_detail:
            return told
        return told | environments.details(self.proposal(place, told), told["current"])

    def proposal(self, place: Place, told: dict[str, Any]) -> dict[str, Any] | None:
        from pipeline import environments

        return environments.approved(self.store, told["current"], place.name)


def defined(file: Any, *, must_be: bool) -> list[Place]:
    """Give the environments of the definition, of which there need be none if nobody named it."""
    from pipeline import compiling
    from pipeline.environments import READS, Place

    if not must_be and not file.exists():
        return []
    try:
        definition, _folder = common.load(file)
    except InvalidDefinition:
        if must_be:
            raise
        text = f"WARNING: {file} is not valid (towpath validate), so only what the store knows is told"
        click.echo(text, err=True)
        return []
    return [
        Place(
            name,
            compiling.identity(definition, name),
            defined=True,
            profile=each.profile,
            auth=compiling.signs_in(each, (READS,)),
        )
        for name, each in definition.environments.items()
    ]


def _differ(places: _Places, ours: str, theirs: str, *, as_json: bool) -> None:
    from pipeline import environments

    names = (ours, theirs)
    states = [places.state(places.named(name), in_detail=True) for name in names]
    found = environments.differences(*states)
    if as_json:
        common.print_json({"environments": list(names), "differences": found})
        return
    if not found:
        click.echo(f"{ours} and {theirs} are the same, as far as it is recorded")
        return
    rows = [[each["what"], *(_short(each["what"], value) for value in each["values"])] for each in found]
    _table(["", *names], rows)


def _ask(places: _Places, chosen: list[Place], states: list[dict[str, Any]]) -> None:
    """Have AWS asked of each, and write down in its state what came of it. What cannot be asked of one keeps no other from it."""
    from pipeline import drift, embedded, environments
    from pipeline.cli.progress import plain

    endpoint = None
    if any(each.target.embedded and each.target.stack for each in chosen):
        endpoint = embedded.endpoint(lambda line: click.echo(plain(line), err=True))

    def ask(place: Place, told: dict[str, Any]) -> dict[str, Any]:
        try:
            found = drift.ask(place.target, *access(place, endpoint))
        except StageFailed as error:
            return {"error": error.as_json()}
        proposal = places.proposal(place, told)
        return drift.compare(told["current"], proposal, found, environments.tokens(places.ledger(place)))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = {
            place.name: pool.submit(ask, place, told)
            for place, told in zip(chosen, states, strict=True)
            if place.target.stack
        }
        for told in states:
            one = asked.get(told["environment"])
            told["drift"] = one.result() if one else None


def access(place: Place, endpoint: str | None) -> tuple[Access, Lender | None]:
    """Sign in where AWS is to be read. Raises StageFailed."""
    from pipeline.environments import READS
    from stages.contract import Access

    if place.auth is None:
        return Access(endpoint if place.target.embedded else None, place.profile), None
    from pipeline import credentials

    session = f"towpath-environments-{place.name}"
    fetch = credentials.fetcher(
        place.auth, READS, place.target.region, os.environ, profile=place.profile, session=session, tags={}
    )
    return Access(role=place.auth.roles[READS]), credentials.Lender(fetch)


def _leave(states: list[dict[str, Any]], broken: dict[str, VerificationFailed]) -> None:
    """Raise for a record that does not hold, for what could not be asked, for what was found changed: the first of these."""
    if broken:
        error, *others = broken.values()
        also = "".join(f"\n{each.message}" for each in others)
        raise VerificationFailed(f"{error.message}{also}", where=error.where, hint=error.hint)
    asked = [(each["environment"], each["drift"]) for each in states if each.get("drift")]
    for _, drift in asked:
        if "error" in drift:
            error = drift["error"]
            raise StageFailed(error["message"], hint=error["hint"])
    changed = [name for name, drift in asked if drift["differs"]]
    if changed:
        hint = (
            "Find out who did it. A new run puts the release back, or says how where CloudFormation sees nothing to do."
        )
        raise VerificationFailed(f"changed outside Towpath: {', '.join(changed)}", hint=hint)


def _print(states: list[dict[str, Any]], *, in_detail: bool, as_json: bool) -> None:
    if as_json:
        common.print_json(states[0] if in_detail else states)
        return
    if in_detail:
        _print_one(states[0])
        return
    if not states:
        click.echo("there are no environments, neither in a pipeline.yaml nor in the store")
        return
    asked = any("drift" in each for each in states)
    head = ["environment", "stack", "release", "since", "run", "commit", "asked for by", "approved by"]
    head += [*(["changed"] if asked else []), "rules"]
    rows = [_row(each, asked=asked) for each in states]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in listed(head, rows, width):
        click.echo(line)
    for each in states:
        for line in (*_held(each), *_to_review(each)):
            _say(f"{each['environment']}: {line}")
        _print_drift(each)


def _to_review(state: dict[str, Any]) -> Iterator[str]:
    """What was let through past the rules, and nobody should overlook."""
    for each in state["to_review"]:
        what = f"{each['stage']} of run {each['run']} was let through at {_at(each['at'])} as {each['person']} broke the glass"
        yield f"{what}, and nobody has reviewed that: towpath break-glass {each['run']} {each['stage']} --review --reason '...'"


def _row(state: dict[str, Any], *, asked: bool) -> list[str]:
    current = state["current"]
    where = [state["environment"], state["target"]["stack"] or "-"]
    ran = ["nothing yet" if state["target"]["stack"] else "-", *["-"] * 5]
    if current:
        ran = [_digest(current["release"]), _at(current["at"]), current["run"], _commit(current), *_people(current)]
    changed = [_changed(state["drift"])] if asked else []
    return [*where, *ran, *changed, state["rules"]["text"] if state["rules"] else "-"]


def _changed(drift: dict[str, Any] | None) -> str:
    if drift is None:
        return "-"
    return "not known" if "error" in drift else "yes" if drift["differs"] else "no"


def _people(current: dict[str, Any]) -> list[str]:
    return [current["asked_for_by"], ", ".join(current["approved_by"]) or "nobody"]


def _print_one(state: dict[str, Any]) -> None:
    target, current = state["target"], state["current"]
    where = f"{'the embedded AWS, ' if target['embedded'] else ''}account {target['account']}, {target['region']}"
    _say(f"{state['environment']}  {target['stack'] or 'no stack'} in {where}")
    _say(f"  rules      {state['rules']['text'] if state['rules'] else 'none in force: nothing was deployed yet'}")
    if current is None:
        _say("  release    nothing was deployed by Towpath")
    else:
        asked, approved = _people(current)
        _say(f"  release    {current['release'] or 'none'}")
        _say(f"  since      {_at(current['at'])}, by stage {current['stage']} of run {current['run']}")
        _say(f"  commit     {current['commit'] or 'not known'}")
        _say(f"  asked for  by {asked}")
        _say(f"  approved   by {approved}")
    for line in (*_held(state), *_to_review(state)):
        _say(f"  {line}")
    for title, values in (("images", state["images"]), ("parameters", state["parameters"]), ("tags", state["tags"])):
        if values:
            _say(f"\n{title}")
            _table([], [["  " + name, str(value)] for name, value in values.items()])
    _print_past(state)
    _print_drift(state)


def _print_past(state: dict[str, Any]) -> None:
    if state["history"]:
        _say("\nlast deployments")
        _table(
            [],
            [
                [
                    "  " + _at(each["at"]),
                    _outcome(each),
                    each["run"],
                    each["stage"],
                    _digest(each["release"]),
                    *_people(each),
                ]
                for each in state["history"]
            ],
        )
    if state["events"]:
        _say("\nother events")
        rows = [["  " + _at(each["at"]), each["type"], _facts(each["data"])] for each in state["events"]]
        _table([], rows)


_FOR_PROGRAMS = ("of", "statement", "document", "key", "received_at", "lifts")
"""What proves an event, and tells people nothing."""


def _facts(data: dict[str, Any]) -> str:
    from pipeline.record.ledger import asked_for_by

    who = data.get("by") or data.get("requester")
    told = {**data, "by": asked_for_by(who) if isinstance(who, dict) else ""}
    return ", ".join(
        f"{name} {value}"
        for name, value in told.items()
        if isinstance(value, (str, int)) and value != "" and name not in _FOR_PROGRAMS
    )


def _outcome(deployment: dict[str, Any]) -> str:
    way = deployment["way"] or {}
    words = {"rollback": "back to what run {} deployed", "promote": "promoted from run {}"}
    told = words.get(way.get("kind", ""), "").format(way.get("run"))
    return f"{deployment['outcome']}, {told}" if told else str(deployment["outcome"])


def _held(state: dict[str, Any]) -> Iterator[str]:
    """Tell of what is in the way of the next deployment."""
    if state["lock"]:
        from pipeline import locks

        yield locks.describe(state["lock"])
    hold = state["hold"]
    if hold:
        yield f"held since {_at(hold['at'])}, when run {hold['run']} went back to an older release, asked for by {hold['by']}"
    yield from map(_unfinished, state["unfinished"])


def _unfinished(one: dict[str, Any]) -> str:
    who = f"asked for by {one['asked_for_by']}"
    go_on = f"go on with it: towpath resume {one['run']}; or deploy something else in its place"
    return f"unfinished: run {one['run']} began at {_at(one['at'])}, {who}; see towpath status {one['run']}, {go_on}"


def _print_drift(state: dict[str, Any]) -> None:
    drift = state.get("drift")
    if not drift:
        return
    name = state["environment"]
    if "error" in drift:
        _say(f"\n{name}: AWS could not be asked: {drift['error']['message']}")
        return
    _say(f"\n{name}: {'changed outside Towpath' if drift['differs'] else 'as it was deployed'}")
    for each in drift["differs"]:
        _say(f"  {each['what']}: recorded {_or_none(each['recorded'])}, found {_or_none(each['found'])}")
    if state["unfinished"]:
        _say("  a deployment is unfinished, so this may be its doing")
    _say(f"  asked: {'; '.join(drift['asked'])}")
    for each in drift["not_asked"]:
        _say(f"  not asked: {each['what']}, as {each['why']}")


def _or_none(value: Any) -> str:
    return "none" if value is None else str(value)


def listed(head: list[str], rows: list[list[str]], width: int | None) -> list[str]:
    """Give rows as a table; one below the other where a screen is narrower than that. Pure."""
    from pipeline.cli.progress import plain

    lines = _columns(head, rows)
    if width is None or all(len(line) <= width for line in lines):
        return lines
    name_width = max(map(len, head))
    told: list[str] = []
    for first, *cells in rows:
        told.append(plain(first))
        pairs = zip(head[1:], cells, strict=True)
        told += [f"  {name:<{name_width}}  {plain(cell)}" for name, cell in pairs if cell != "-"]
    return told


def _table(head: list[str], rows: list[list[str]]) -> None:
    for line in _columns(head, rows):
        click.echo(line)


def _columns(head: list[str], rows: list[list[str]]) -> list[str]:
    """Give rows in columns as wide as what is in them; the last one is as long as it is."""
    from pipeline.cli.progress import plain

    lines = [[plain(cell) for cell in row] for row in ([[each.upper() for each in head]] if head else []) + rows]
    if not lines:
        return []
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    cells = ([f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)] for line in lines)
    return ["  ".join([*each, line[-1]]).rstrip() for each, line in zip(cells, lines, strict=True)]


def _say(text: str) -> None:
    from pipeline.cli.progress import plain

    click.echo(plain(text))


def _at(moment: str) -> str:
    return f"{moment[:10]} {moment[11:16]} UTC"


def _commit(deployment: dict[str, Any]) -> str:
    return str(deployment["commit"] or "-")[:10]


def _digest(digest: str | None) -> str:
    return str(digest).removeprefix("sha256:")[:12] if digest else "-"


def _short(what: str, value: Any) -> str:
    if value is None:
        return "-"
    if what.startswith("image of "):
        name, _, sha256 = str(value).partition("@")
        return f"{name.partition('/')[2] or name}@{sha256[:19]}" if sha256 else name
    digest = what == "release" or what.startswith("template")
    return _digest(str(value)) if digest else str(value)

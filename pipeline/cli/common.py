"""Options that several commands share, and how they find the project, its definition and its store."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipeline.cli.ci.guard import harmless_json
from pipeline.errors import TowpathError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.definition import Definition
    from pipeline.plan import Plan, Value
    from pipeline.record.ledger import Ledger
    from pipeline.record.store import Store
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust

    Decorated = TypeVar("Decorated", bound=Callable[..., Any])

as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON; errors too, as one object on standard error."
)


def _noted(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Note the value of an option where the error boundary finds it, which tells of files and in which dress."""
    if value is not None:
        context.meta[f"towpath.{parameter.name}"] = value
    return value


dress = click.option(
    "--ci",
    envvar="TOWPATH_CI",
    default="auto",
    show_default=True,
    metavar="SYSTEM",
    type=click.Choice(["auto", "none", "github", "gitlab", "buildkite"]),
    callback=_noted,
    help="The CI system in whose dress to print: github, gitlab, buildkite, none; auto looks on which one we run.",
)
file = click.option(
    "-f",
    "--file",
    metavar="FILE",
    callback=_noted,
    help="The definition; its folder is the project. Default: pipeline.yaml in the project.",
)
parameter = click.option(
    "-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="Set a parameter; may be repeated."
)
jobs = click.option(
    "-j", "--jobs", default=4, show_default=True, type=click.IntRange(1, 64), help="Stages run at the same time."
)
project = click.option(
    "--project", metavar="DIR", default=".", show_default=True, callback=_noted, help="The project's folder."
)
store = click.option(
    "--store",
    envvar="TOWPATH_STORE",
    metavar="STORE",
    help="Where the record is kept: a folder, or s3://BUCKET/PREFIX. Default: .towpath/store in the project.",
)


key = click.option(
    "--key",
    envvar="TOWPATH_KEY",
    metavar="FILE",
    help="The OpenSSH ed25519 key that seals the record. Default: ~/.config/towpath/runner.key, made if missing.",
)


profile = click.option("--profile", metavar="PROFILE", help="A profile of the AWS configuration.")
aws = click.option(
    "--aws", type=click.Choice(["aws", "embedded"]), help="`embedded`: the AWS that runs on this machine."
)
trust = click.option(
    "--trust",
    envvar="TOWPATH_TRUST",
    metavar="FILE",
    help="The keys that count, as OpenSSH's allowed_signers. Nothing is done on the word of another key.",
)


def trusted(path: str | None) -> Trust | None:
    """Read the keys that count. Raises UsageError, InvalidDefinition."""
    from pipeline.signing import signers

    return signers.load_trust(Path(path)) if path else None


def runner_key(path: str | None) -> Key:
    """Load the runner's key; one that is made on this occasion is told of."""
    from pipeline.signing import keys

    return keys.find(path, os.environ, lambda text: click.echo(text, err=True))


def runner_keys(own: str | None, trust: str | None) -> tuple[Key, Trust | None]:
    """Load the runner's key and those that count, of which it must be one. Raises UsageError, InvalidDefinition."""
    signing, trusting = runner_key(own), trusted(trust)
    if trusting and not trusting.key("builder", signing.public.fingerprint):
        hint = "Enrol it (`towpath doctor` prints its line), or name another key with --key FILE."
        text = f"the runner's own key, {signing.public.fingerprint}, is not enrolled as builder: nobody would rely on what it writes"
        raise UsageError(text, hint=hint, where=trusting.path)
    return signing, trusting


def refuse_no_gate(book: Ledger, own: Key, trust: Trust | None) -> None:
    """Refuse to write to a ledger with a key that nobody would rely on. Raises UsageError."""
    from pipeline.record import ledger

    if ledger.may_write(book, own, trust):
        return
    hint = "Do it where such a key is, or name it: --key FILE"
    if trust:
        text = f"this machine's key, {own.public.fingerprint}, is not enrolled as gate: nobody would rely on what it writes"
        raise UsageError(text, hint=hint, where=trust.path)
    text = f"this machine's key, {own.public.fingerprint}, has never written to {book.name}: who pins keys would not rely on it"
    raise UsageError(text, hint=f"{hint}. If it counts, say so with the file that enrols it: --trust FILE")


def rely_on(store: Store, run_id: str, trust: Trust) -> None:
    """Hold what is recorded of a run against the keys that count, before anything is built upon it or decided.

    Other jobs may be writing to it just then, so what does not hold is looked at again as long as there is more each time.
    Raises VerificationFailed if something does not hold, Incomplete if a closed chain has nobody who vouches for it.
    """
    doubt = _doubt(store, run_id, trust)
    for _ in range(_LOOKS):
        if doubt is None:
            return
        there = _extent(store, run_id)
        time.sleep(_SETTLED_S)
        doubt = _doubt(store, run_id, trust)
        if _extent(store, run_id) == there:
            break
    if doubt is not None:
        raise doubt


_LOOKS = 10
_SETTLED_S = 0.3
"""Longer than it takes to seal a chain that was closed."""


def _doubt(store: Store, run_id: str, trust: Trust) -> TowpathError | None:
    """Give the error for what keeps us from relying on a run."""
    from pipeline.audit import verify
    from pipeline.errors import Incomplete, VerificationFailed
    from pipeline.record import seals

    for found in verify.Audit(store, trust).run(run_id).findings:
        if found.grade == "broken":
            hint = "Do not go on from this record. Start anew: towpath run"
            return VerificationFailed(str(found), where=found.key, hint=hint)
        if found.key.endswith(f"/{seals.NAME}"):
            return Incomplete(str(found), where=found.key, hint="Start a new run: towpath run")
    return None


def _extent(store: Store, run_id: str) -> dict[str, list[str]]:
    """Give the objects of a run's chains, without their logs."""
    return {name: store.names(f"runs/{run_id}/{name}") for name in store.names(f"runs/{run_id}")}


def open_store(location: str | None, project: Path, *, create: bool = False) -> Store:
    """Open the store that was named, or the project's own. Raises UsageError, StoreError."""
    if location and location.startswith("s3://"):
        from pipeline.record.store import s3  # late: it loads boto3

        return s3.open_store(location, create=create)
    from pipeline.record.store import directory

    if location and "://" in location:
        raise UsageError(f"{location}: no store is of this kind", hint="Name a folder, or s3://BUCKET/PREFIX.")
    return directory.open_store(Path(location) if location else project / ".towpath" / "store", create=create)


def find_run(store: Store, text: str) -> str:
    """Give the run that `text` means: `auto`, or what `runs.find` knows. Raises UsageError, VerificationFailed."""
    from pipeline.cli.ci import identity
    from pipeline.record import runs

    if not identity.is_auto(text):
        return runs.find(store, text)
    who = identity.identity(text, os.environ)
    found = runs.of_identity(store, who)
    if found is None:
        hint = f"The first job opens it: towpath stage run NAME --run {text}"
        raise UsageError(f"there is no run of {who} in {store.location} yet", hint=hint)
    return found


def read_text(path: str, what: str) -> str:
    """Give the text of a file that was named on the command line. Raises UsageError."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"cannot read {what}: {reason}", where=path) from error


def template(project: Path, named: str | None) -> str:
    """The template that was named, by its path from the project's folder if it is in it, or the project's own. Raises UsageError."""
    from pipeline import samconfig

    if named is None:
        return samconfig.template(project)
    path = os.path.relpath(project / named, project)
    return named if path.startswith("..") else path


def definition_file(file: str | None, project: str) -> Path:
    """Give the definition that was named, or the project's. Raises UsageError if both were named."""
    if file and project != ".":
        hint = f"The folder of {file} is the project, so leave out --project."
        raise UsageError("--file and --project say both which project it is", hint=hint)
    return Path(file) if file else Path(project) / "pipeline.yaml"


def load(file: Path) -> tuple[Definition, Path]:
    """Load a definition; its folder is the project."""
    from pipeline import definition

    project = file.absolute().parent
    return definition.load(file, project), project


def compile_plan(definition: Definition, project: Path, given: tuple[str, ...]) -> tuple[Plan, dict[str, bytes]]:
    """Compile the plan with the parameters given on the command line."""
    from pipeline import compiling
    from pipeline.definition import parameters

    values: Mapping[str, Value] = parameters.resolve(definition, named(given))
    return compiling.compile_plan(definition, values, project)


def named(given: tuple[str, ...]) -> dict[str, str]:
    """Give the parameters of a command line by their names. Raises UsageError."""
    named = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals:
            raise UsageError(f"--parameter {each!r} has no value", hint=f"Write: --parameter {each}=VALUE")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise UsageError(
                f"--parameter {name}: the value is not UTF-8", hint="Check the terminal's encoding and LANG."
            )
        named[name] = value
    return named


def json_text(value: Any, indent: int | None = None) -> str:
    """Give JSON in which nothing is a command to a CI system that reads our output."""
    return harmless_json(json.dumps(value, indent=indent, ensure_ascii=False))


def count(number: int, what: str) -> str:
    """Say how many there are of something."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    click.echo(json_text(value, 2))


def known(plan: Plan, names: tuple[str, ...]) -> None:
    """Raise UsageError for a name that is no stage of the run."""
    from difflib import get_close_matches

    for name in names:
        if name not in plan.stages:
            close = get_close_matches(name, plan.stages, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Its stages are: {', '.join(plan.stages)}."
            raise UsageError(f"the run has no stage {name!r}", hint=hint)

"""The command `towpath`: its table of commands, and the one place where errors become text and exit codes."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

import pipeline
from pipeline.cli.ci.guard import guarded
from pipeline.errors import Done, Fault, Interrupted, TowpathError, UsageError, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from click.shell_completion import CompletionItem

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("init", "Make a project, or add a pipeline or a function to one."),
    "validate": ("define", "Check the definition and the files it names."),
    "plan": ("define", "Show what a run would do, without doing it."),
    "schema": ("define", "Print the JSON Schema of pipeline.yaml."),
    "build": ("direct", "Build the functions' images, without a pipeline."),
    "package": ("direct", "Build, push the images and write the packaged template, without a pipeline."),
    "deploy": ("deploy", "Deploy a template, built or packaged, without a pipeline."),
    "delete": ("delete", "Delete a stack, and on wish the images that only it used."),
    "run": ("run", "Run the pipeline."),
    "resume": ("run", "Go on with a run that was stopped, killed or failed."),
    "rerun": ("run", "Do stages of an older run again, in a new run that takes over the rest."),
    "recover": ("recover", "Free a stack that is stuck after a deployment that failed."),
    "promote": ("promote", "Deploy to an environment what a run has proved in those before it."),
    "rollback": ("promote", "Deploy to an environment again what ran there healthily before."),
    "cancel": ("cancel", "Stop a run, or a stage of it, wherever it is under way."),
    "stage": ("run", "Run single stages of a run."),
    "approve": ("approve", "Approve what a stage is about to do, with your SSH key."),
    "reject": ("approve", "Reject what a stage is about to do."),
    "approvals": ("gates", "List what waits for approval."),
    "break-glass": ("glass", "In an emergency, let through what the rules hold up; and review that."),
    "lock": ("lock", "Keep everybody from deploying to an environment."),
    "unlock": ("lock", "Let them deploy there again."),
    "gate": ("gates", "Tell how a stage's gate stands."),
    "status": ("look", "Show how the stages of a run stand."),
    "runs": ("look", "List the runs in the store."),
    "logs": ("look", "Print the logs of a run's stages."),
    "environments": ("environments", "Show what runs where, and whether it was changed outside Towpath."),
    "audit": ("audit", "Prove what a run left, or read it."),
    "bundle": ("bundle", "Carry runs from one store to another in one file."),
    "prune": ("prune", "Remove what runs left and nobody needs any more."),
    "local": ("local", "Run functions on this machine, in containers of the images that were built."),
    "embedded": ("machine", "Start, stop or look at the AWS that runs on this machine."),
    "doctor": ("machine", "Check what Towpath needs, on this machine and of the project."),
    "completion": ("machine", "Print what makes Tab complete towpath's commands in a shell."),
}
"""Each command's module below `pipeline.cli`, and its one line of help. Modules are imported when their command is called."""


class _Lazy(click.Group):
    """A group that knows its commands by name and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0], cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"pipeline.cli.{module}"), name)
        return completing().prepared(command) if ctx.resilient_parsing else command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        offered = [
            CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)
        ]
        return offered or click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UsageError(f"there is no command {args[0]!r}", hint=_did_you_mean(args[0]))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def completing() -> ModuleType:
    """What shells are offered; it is loaded when one asks."""
    return import_module("pipeline.cli.completing")


def _version(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:  # noqa: FBT001 - click calls it so
    if not asked or context.resilient_parsing:
        return
    if "--json" in sys.argv:
        from pipeline.cli.common import print_json

        python = {"version": sys.version.split()[0], "executable": sys.executable}
        print_json({"towpath": pipeline.__version__, "python": python, "platform": sys.platform})
    else:
        click.echo(f"towpath, version {pipeline.__version__}")
    context.exit()


def _only_with_version(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:  # noqa: FBT001 - as above
    if asked and not context.resilient_parsing:
        raise UsageError("--json stands before the command", hint="Write it after it: towpath COMMAND --json")


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)
@click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_only_with_version,
    help="Print JSON, here with --version; every command has it as well.",
)
def towpath() -> None:
    """Build, package and promote AWS Lambda container images, one gate at a time.

    Exit codes: 0 done, 1 a stage or the store failed, 2 wrong usage or definition, 3 a fault of Towpath's own,
    4 verification failed, 5 rejected, 6 blocked, 7 incomplete, 75 waiting for approval, 124 timed out, 130 interrupted,
    143 terminated.
    """


def main() -> None:
    """Run the command line and exit."""
    asked = os.environ.get("_TOWPATH_COMPLETE")
    if asked:
        sys.exit(completing().complete(towpath, asked))
    try:
        with guarded(os.environ):
            _main()
    except Done as end:
        _leave(end)


def _leave(end: Done) -> NoReturn:
    """End at once: to take itself apart takes the interpreter 15 ms."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(int(end.code or 0))


def _main() -> None:
    as_json = "--json" in sys.argv
    meta: dict[str, Any] = {}
    try:
        # Not `towpath.main`: it turns a closed pipe into exit code 1, which here means that a stage failed.
        with towpath.make_context("towpath", sys.argv[1:], color=_colour()) as context:
            meta = context.meta
            towpath.invoke(context)
            sys.stdout.flush()
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.Abort:
        _fail(Interrupted("interrupted"), meta, as_json=as_json)
    except click.ClickException as error:
        _fail(UsageError(error.format_message(), hint=_usage(error)), meta, as_json=as_json)
    except TowpathError as error:
        _fail(error, meta, as_json=as_json)
    except KeyboardInterrupt:
        _fail(Interrupted("interrupted"), meta, as_json=as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone, as `| head` does
        sys.exit(141)
    except Exception as error:  # noqa: BLE001 - the error boundary: whatever else is raised is a fault of ours
        _fail(_report(error), meta, as_json=as_json)


def _colour() -> bool | None:
    """Never colour where the user or the terminal says so; else only on a terminal, which is what None means."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def _fail(error: TowpathError, meta: dict[str, Any], *, as_json: bool) -> None:
    from pipeline.cli.common import json_text

    if isinstance(error, Interrupted):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # impatience does not change the exit code
    with suppress(OSError):
        click.echo(json_text(error.as_json()) if as_json else "\n".join(_text(error)), err=True, color=_colour())
        if not as_json:
            _annotate(error, meta)
    sys.exit(error.code)


def _annotate(error: TowpathError, meta: dict[str, Any]) -> None:
    """Tell the CI system on which we run of the error, with the places in files of the repository."""
    from pipeline.cli.ci import dress
    from pipeline.cli.ci.guard import trusted

    worn = dress.choose(meta.get("towpath.ci") or os.environ.get("TOWPATH_CI") or "auto", os.environ)
    if worn is None:
        return
    file = meta.get("towpath.file")
    folder = Path(file).parent if file else Path(meta.get("towpath.project") or ".")
    root = Path(os.environ.get("GITHUB_WORKSPACE") or ".")
    level = "warning" if isinstance(error, Waiting) else "error"
    for message, where in dress.problems(error):
        trusted(worn.problem(level, message, dress.place(where, folder, root)))


def _text(error: TowpathError) -> Iterator[str]:
    from pipeline.cli.progress import plain

    label = click.style("error:", fg="red", bold=True)
    where = f"{error.where}: " if error.where and not str(error).startswith(error.where) else ""
    yield f"{label} {plain(where + error.message)}"
    if error.hint:
        yield from (f"       {plain(line)}" for line in error.hint.splitlines())
    for each in error.also:
        yield from _text(each)


def _usage(error: click.ClickException) -> str | None:
    context = getattr(error, "ctx", None)
    if context is None:
        return None
    typed = " ".join(
        each for each in context.command_path.split() if not each.startswith("[")
    )  # a group's own argument
    return f"See: {typed} --help"


def _did_you_mean(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, COMMANDS, n=1)
    return f"Did you mean {close[0]!r}?" if close else "See: towpath --help"


def _report(error: Exception) -> Fault:
    """Write a report that can be pasted as it is, and give the error that names it."""
    about: dict[str, Any] = {
        "towpath": pipeline.__version__,
        "python": sys.version,
        "platform": sys.platform,
        "argv": sys.argv[1:],
    }
    descriptor, name = tempfile.mkstemp(prefix=f"towpath-{time.strftime('%Y%m%d-%H%M%S')}-", suffix=".txt")
    os.close(descriptor)
    Path(name).write_text(
        json.dumps(about, indent=2) + "\n\n" + "".join(traceback.format_exception(error)), encoding="utf-8"
    )
    return Fault(
        f"Towpath itself went wrong: {type(error).__name__}: {error}", hint=f"A report to attach to an issue: {name}"
    )

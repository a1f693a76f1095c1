"""local: run the functions of a template on this machine, in containers of the very images that were built."""

from __future__ import annotations

import json
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import common, runnable
from pipeline.errors import Done, Interrupted, TowpathError, UsageError
from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stages.local.console import Console
    from stages.local.functions import Configured
    from stages.local.http_api import HttpApi
    from stages.local.images import Wanted
    from stages.local.routes import Api
    from stages.local.service import Service
    from stages.runtime.model import Function, Outcome

EXIT_CODES = {"succeeded": 0, "timeout": 124, "broken-image": 126, "out-of-memory": 137}
"""Of `local invoke`, by how the invocation ended; 1 for every other ending. 126 and 137 are what a shell would say."""


@click.group()
def local() -> None:
    """Run functions on this machine, in containers of the images that were built, as Lambda runs them."""


@local.command(cls=runnable.Command, short_help="Run a function once.")
@click.argument("function", required=False)
@click.option("-e", "--event", metavar="FILE", help="The event, as JSON; - reads standard input. Default: {}")
@click.option("--image", metavar="IMAGE", help="Run this image: an id, a name, or HOST/NAME@sha256:... of a registry.")
@click.option(
    *("-d", "--debug-port", "ports"),
    multiple=True,
    type=click.IntRange(1, 65_535),
    metavar="PORT",
    help="Publish this port of the container on 127.0.0.1, and set no time limit; may be repeated.",
)
@click.option("--client-context", metavar="JSON", help="The client context, as a mobile SDK sends it.")
@runnable.asks
@common.as_json
def invoke(
    *,
    function: str | None,
    event: str | None,
    image: str | None,
    ports: tuple[int, ...],
    client_context: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run FUNCTION once: its answer goes to standard output, its log to standard error.

    FUNCTION is a logical id, Child/Function in a nested stack, or a FunctionName; it may be left out if there is one only.

    Exit codes: 0 it answered, 1 it failed, 124 it took too long, 126 its image cannot be run, 137 it took too much memory.
    """
    from stages.local import credentials
    from stages.local.console import Console, end, start
    from stages.local.runner import as_runnable, running
    from stages.runtime.model import Call

    asked = runnable.asked(runnable.said(runnable.INVOKE, options))
    call = Call(runnable.read_event(event) if event else b"{}", client_context=_context(client_context))
    console = Console(sys.stderr.buffer)
    with runnable.told(), _terminated():
        if asked.build:
            runnable.build(asked)
        found = runnable.find(asked, function, image)
        [(configured, wanted)] = found.functions
        for note in configured.notes:
            console.say(f"note: {configured.id}: {note}")
        with running(console, most=1) as (engine, pool):
            function_ = as_runnable(engine, configured, wanted, credentials.credentials(asked.profile), ports)
            for port in ports:
                console.say(f"debug port: 127.0.0.1:{port}, answered once the function listens on 0.0.0.0:{port}")
            console.say(start(call.request_id, function_))
            with _meanwhile(lambda: _tell_changes(asked, found, console.say)):
                outcome = pool.invoke(function_, call)
            console.say(end(outcome, function_))
            _answer(outcome, as_json=as_json)
    raise Done(EXIT_CODES.get(outcome.kind, 1))


def _serves(port: int, most: int = 10) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of a server."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        options = (
            click.option("--host", metavar="ADDRESS", help="The address to listen on. Default: 127.0.0.1"),
            click.option(
                *("-p", "--port"),
                type=click.IntRange(0, 65_535),
                help=f"The port; 0 takes a free one. Default: {port}",
            ),
            click.option(
                "--containers",
                "most",
                default=most,
                show_default=True,
                type=click.IntRange(1, 1000),
                help="Containers of one function at the same time, at most; calls wait for one.",
            ),
            click.option("--watch", is_flag=True, help="Build what changes, and swap it once it is ready."),
            runnable.asks,
        )
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@local.command("start-lambda", cls=runnable.Command, short_help="Serve functions as Lambda does, for SDKs.")
@_serves(3001)
def start_lambda(*, most: int, watch: bool, **options: Any) -> None:
    """Serve Lambda's own endpoint, for `aws lambda invoke --endpoint-url http://127.0.0.1:3001` and SDKs. Ctrl-C ends it.

    Every function of the template can be called, by its logical id or its FunctionName. Containers stay warm.
    """
    from stages.local.http import Server
    from stages.local.lambda_api import LambdaApi

    said = runnable.said(runnable.START_LAMBDA, {**options, "build": options["build"] or watch})
    asked, host, port = runnable.asked(said), said.get("host", "127.0.0.1"), said.get("port", 3001)
    with _serving(asked, most) as served:
        server = Server(host, port, LambdaApi(served.service).answer)
        served.console.say("\n".join([f"Lambda answers at {server.url}", *_callable(served), "Ctrl-C ends it."]))
        _until_ended(asked, served, [], watch=watch)


@local.command("start-api", cls=runnable.Command, short_help="Serve the template's HTTP APIs.")
@_serves(3000)
def start_api(*, most: int, watch: bool, **options: Any) -> None:
    """Serve the template's APIs: events of type Api and HttpApi, OpenAPI bodies and function URLs. Ctrl-C ends it.

    The first answers at the port, each further one at the next: every API has its own. Authorizers are named, and not run.
    """
    from stages.local import routes
    from stages.local.http import Server
    from stages.local.http_api import HttpApi

    said = runnable.said(runnable.START_API, {**options, "build": options["build"] or watch})
    asked, host, port = runnable.asked(said), said.get("host", "127.0.0.1"), said.get("port", 3000)
    with _serving(asked, most) as served:
        apis, notes = routes.read(served.found.application)
        for note in notes:
            served.console.say(f"note: {note}")
        if not apis:
            hint = "Give a function an event of type Api or HttpApi, or a FunctionUrlConfig; or use: towpath local start-lambda"
            raise UsageError(
                "the template has no API with routes to its image functions", where=asked.template, hint=hint
            )
        answering = [HttpApi(api, served.service) for api in apis]
        for index, each in enumerate(answering):
            server = Server(host, port and port + index, each.answer)
            each.port = int(server.server_address[1])
            each.url = server.url
            served.console.say(_described(each.api, each.url))
        served.console.say("Ctrl-C ends it.")
        _until_ended(asked, served, answering, watch=watch)


@local.command(
    "generate-event",
    short_help="Print an event as an AWS service sends it.",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("source", required=False)
@click.argument("type_", metavar="TYPE", required=False)
@click.argument("options", metavar="[--OPTION VALUE]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--list", "listed", is_flag=True, help="List the events that there are, with their options.")
def generate_event(source: str | None, type_: str | None, options: tuple[str, ...], *, listed: bool) -> None:
    """Print an event as an AWS service sends it: towpath local generate-event s3 put --bucket photos --key a.jpg

    Without TYPE, the events of SOURCE are listed.
    """
    from stages.local import events

    if listed or source is None or type_ is None:
        found = [each for each in events.kinds() if source in (None, each.source)]
        if not found:
            known = ", ".join(sorted({each.source for each in events.kinds()}))
            raise UsageError(f"there is no source {source!r} of events", hint=f"There is: {known}")
        for each in found:
            click.echo(f"{each.source} {each.type}: {each.help}")
            click.echo("    " + " ".join(f"--{name}" for name in each.options))
        return
    with runnable.told():
        common.print_json(events.make(source, type_, _pairs(options)))


def _pairs(options: tuple[str, ...]) -> dict[str, str]:
    """Take `--name value` and `--name=value` apart. Raises UsageError."""
    found: dict[str, str] = {}
    rest = iter(options)
    for each in rest:
        name, equals, value = each.removeprefix("--").partition("=")
        if not each.startswith("--"):
            raise UsageError(f"{each!r} is no option", hint="Write: --OPTION VALUE; --list names them")
        given = value if equals else next(rest, None)
        if given is None:
            raise UsageError(f"--{name} has no value", hint=f"Write: --{name} VALUE")
        found[name] = given
    return found


def _callable(served: _Served) -> Iterator[str]:
    """Name the functions that can be called."""
    for each, _ in served.found.functions:
        other = f"  or {each.runnable.name}" if each.runnable.name != each.id else ""
        yield f"  {each.id}{other}"


def _described(api: Api, url: str) -> str:
    """Tell of an API, and of its routes."""
    kinds = {"rest": "Api", "http": "HttpApi", "url": "function URL"}
    stage = "" if api.kind == "url" else f", stage {api.stage}"
    lines = [f"{url}  {api.name} ({kinds[api.kind]}{stage})"]
    for route in api.routes:
        unchecked = f"  {route.unchecked} is not run" if route.unchecked else ""
        lines.append(f"  {route.method:<7} {route.path}  {route.function}{unchecked}")
    return "\n".join(lines)


@dataclass
class _Served:
    """What a server serves now, and all that it takes to serve something else."""

    service: Service
    found: runnable.Found
    console: Console
    ready: Callable[[Configured, Wanted], Function]


@contextmanager
def _serving(asked: runnable.Asked, most: int) -> Iterator[_Served]:
    """Have all functions of the template ready to be called."""
    from stages.local import credentials
    from stages.local.console import Console
    from stages.local.runner import as_runnable, running
    from stages.local.service import Service

    console = Console(sys.stderr.buffer)
    with runnable.told(), _terminated():
        if asked.build:
            runnable.build(asked)
        found = runnable.find(asked, every=True)
        for configured, _ in found.functions:
            for note in configured.notes:
                console.say(f"note: {configured.id}: {note}")
        _tell_changes(asked, found, console.say)
        given = credentials.credentials(asked.profile)
        with running(console, most) as (engine, pool):

            def ready(configured: Configured, wanted: Wanted) -> Function:
                return as_runnable(engine, configured, wanted, given)

            service = Service(pool, console, {each.id: ready(each, wanted) for each, wanted in found.functions})
            yield _Served(service, found, console, ready)


def _until_ended(asked: runnable.Asked, served: _Served, apis: list[HttpApi], *, watch: bool) -> None:
    """Wait for Ctrl-C, or for being asked to end: that is how a server is ended, and no error."""
    with suppress(KeyboardInterrupt):
        if watch:
            from stages.local.watch import changes

            for _ in changes(asked.project, lambda: served.found.application):
                _renew(asked, served, apis)
        threading.Event().wait()


def _renew(asked: runnable.Asked, served: _Served, apis: list[HttpApi]) -> None:
    """Build what changed, and serve it once it is ready. What cannot be built or does not start leaves all as it was."""
    from stages.local import console, routes

    say = served.console.say
    try:
        runnable.build(asked)
        found = runnable.find(asked, every=True)
        for configured, wanted in found.functions:
            new = served.ready(configured, wanted)
            if served.service.differs(configured.id, new):
                known = served.service.knows(configured.id)
                wrong = served.service.swap(configured.id, new)
                if wrong is None:
                    say(f"{configured.id} {'has been swapped' if known else 'can be called now'}")
                else:
                    say(f"{configured.id} does not start, so what ran before still does: {console.error_of(wrong)[1]}")
        renewed = {each.name: each for each in routes.read(found.application)[0]}
    except (StageError, TowpathError) as error:
        say(f"what ran before still does: {error}")
        return
    served.found = found
    for each in apis:
        new_api = renewed.pop(each.api.name, each.api)
        if new_api.routes != each.api.routes:
            say(_described(new_api, each.url))
        each.api = new_api
    if apis and renewed:
        say(f"note: new APIs are served once this command is started again: {', '.join(renewed)}")


def _tell_changes(asked: runnable.Asked, found: runnable.Found, say: Callable[[str], None]) -> None:
    if not asked.build:
        for text in runnable.changes(asked, found):
            say(f"note: {text}")


@contextmanager
def _meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Do something else, too, while containers are waited for."""
    thread = threading.Thread(target=act, daemon=True, name="meanwhile")
    thread.start()
    yield
    thread.join()


def _answer(outcome: Outcome, *, as_json: bool) -> None:
    """Print what the function answered, or the error in Lambda's form."""
    if not as_json:
        sys.stdout.buffer.write(outcome.payload.removesuffix(b"\n") + b"\n")
        sys.stdout.buffer.flush()
        return
    try:
        answer = json.loads(outcome.payload)
    except ValueError:
        answer = outcome.payload.decode("utf-8", "replace")
    common.print_json(
        {
            "outcome": outcome.kind,
            "answer": answer,
            "request_id": outcome.request_id,
            "duration_ms": round(outcome.duration_ms, 2),
            "init_ms": outcome.init_ms and round(outcome.init_ms, 2),
            "log": outcome.log,
        }
    )


def _context(text: str | None) -> str:
    from stages.local import documents

    try:
        return json.dumps(documents.read(text)) if text else ""
    except ValueError as error:
        raise UsageError(f"--client-context is no JSON: {error}") from error


class _Terminated(KeyboardInterrupt):
    """As after Ctrl-C, so that whoever bears with other errors does not bear with this."""


@contextmanager
def _terminated() -> Iterator[None]:
    """End as after Ctrl-C when asked to end, or when the terminal is closed, so that containers are removed."""

    def end(*_: object) -> None:
        raise _Terminated

    heeded = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, end) for each in heeded}
    try:
        yield
    except _Terminated as error:
        raise Interrupted("terminated", code=143) from error
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)

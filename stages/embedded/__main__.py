"""`python -I -m stages.embedded start|stop|status [--json]`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, NoReturn

from stages.contract import StageError
from stages.embedded import control

if TYPE_CHECKING:
    from stages.embedded.control import Status

_COMMANDS = {"start": control.start, "stop": control.stop, "status": control.status}


def main(arguments: list[str] | None = None) -> int:
    """Do one command; 0 if it was done, 1 if not, 2 for wrong usage, 130 if interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        options = _parser().parse_args(given)
    except _WrongUsage as error:
        _fail(2, StageError(str(error), hint="Say: start, stop or status, and no more than --json."), "--json" in given)
        return 2
    silent = options.json and not options.progress
    try:
        status = _COMMANDS[options.command](_nothing if silent else _progress)
    except StageError as error:
        _fail(1, error, options.json)
        return 1
    except OSError as error:
        _fail(1, StageError(str(error)), options.json)
        return 1
    except KeyboardInterrupt:
        _fail(130, StageError("interrupted"), options.json)
        return 130
    print(json.dumps(status.as_json()) if options.json else _text(status))  # noqa: T201 - it is what was asked for
    return 0


class _WrongUsage(Exception):
    """What was typed is no command."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _WrongUsage(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="towpath embedded", description="The AWS that runs on this machine.")
    parser.add_argument("command", choices=sorted(_COMMANDS), help="what to do; each may be repeated without harm")
    parser.add_argument("--json", action="store_true", help="answer, or tell the error, with one JSON object")
    parser.add_argument("--progress", action="store_true", help="with --json: also say on stderr what takes long")
    return parser


def _text(status: Status) -> str:
    if status.state != "running":
        return f"The embedded AWS is {status.state}."
    note = " It runs older code than this; stop and start it to renew it." if status.outdated else ""
    return f"The embedded AWS is running at {status.endpoint_url} (process {status.pid}, log {status.log}).{note}"


def _progress(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201 - progress for people


def _nothing(_: str) -> None:
    """Progress that nobody wants."""


def _fail(code: int, error: StageError, as_json: bool) -> None:  # noqa: FBT001 - as it was asked for
    if as_json:
        document = {"code": code, "message": error.message, "where": error.where, "hint": error.hint}
        print(json.dumps(document), file=sys.stderr)  # noqa: T201 - the error, as asked for
    else:
        hint = f"\n    {error.hint}" if error.hint else ""
        print(f"error: {error.message}{hint}", file=sys.stderr)  # noqa: T201 - the error


if __name__ == "__main__":
    sys.exit(main())

"""`python -I -m stages.embedded start|stop|status [--json]`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from stages.contract import StageError
from stages.embedded import control

if TYPE_CHECKING:
    from stages.embedded.control import Status

_COMMANDS = {"start": control.start, "stop": control.stop, "status": control.status}


def main(arguments: list[str] | None = None) -> int:
    """Do one command; 0 if it was done, 1 if not, 130 if interrupted."""
    options = _parser().parse_args(arguments)
    try:
        status = _COMMANDS[options.command](_progress)
    except StageError as error:
        _fail(error, as_json=options.json)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(status.as_json()) if options.json else _text(status))  # noqa: T201 - it is what was asked for
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="towpath embedded", description="The AWS that runs on this machine.")
    parser.add_argument("command", choices=sorted(_COMMANDS), help="what to do; each may be repeated without harm")
    parser.add_argument("--json", action="store_true", help="answer with one JSON object")
    return parser


def _text(status: Status) -> str:
    if status.state != "running":
        return f"The embedded AWS is {status.state}."
    note = " It runs older code than this; stop and start it to renew it." if status.outdated else ""
    return f"The embedded AWS is running at {status.endpoint_url} (process {status.pid}, log {status.log}).{note}"


def _progress(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201 - progress for people


def _fail(error: StageError, *, as_json: bool) -> None:
    if as_json:
        document = {"code": 1, "message": error.message, "where": error.where, "hint": error.hint}
        print(json.dumps(document), file=sys.stderr)  # noqa: T201 - the error, as asked for
    else:
        hint = f"\n    {error.hint}" if error.hint else ""
        print(f"error: {error.message}{hint}", file=sys.stderr)  # noqa: T201 - the error


if __name__ == "__main__":
    sys.exit(main())

"""Environment variables: files that set them, and what Lambda does not let anybody set."""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING, Any

from stages.contract import Problem, StageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stages.template import Template
    from stages.template.resources import Resource

ALL = "Parameters"
"""The key of an --env-vars file whose variables are for every function, as in AWS SAM CLI."""

RESERVED = frozenset(
    {
        *("_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV"),
        *("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION"),
        *("AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME"),
        *("AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"),
    }
)
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html, "Reserved environment variables"."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]+")
"""https://docs.aws.amazon.com/lambda/latest/api/API_Environment.html"""

_NO_NAME = (
    "{} is no variable's name for Lambda, which wants two characters or more: a letter, then letters, digits and _"
)

ALL_BYTES = 4096
"""Of all variables of a function together, https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""


def read(data: bytes, file: str, functions: Iterable[str]) -> dict[str, dict[str, str]]:
    """Read a file of AWS SAM CLI's `--env-vars`: variables by function, and under `Parameters` those for all of them.

    `functions` are the names that there are, ids and FunctionNames; the last part of an id will do. Raises StageError.
    """
    try:
        document: Any = json.loads(data)
    except ValueError as error:
        where = f"{file}:{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else file
        raise StageError(f"it is no JSON: {error}", where=where, cls="invalid") from error
    hint = 'It looks like: {"MyFunction": {"TABLE": "books"}, "Parameters": {"STAGE": "test"}}'
    if not isinstance(document, dict) or not all(isinstance(each, dict) for each in document.values()):
        raise StageError("it must map functions to their variables", where=file, hint=hint, cls="invalid")
    known = sorted({name for each in functions for name in (each, each.rpartition("/")[2])})
    for name in document:
        if name != ALL and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"Its functions are: {', '.join(known)}"
            raise StageError(f"the template has no function {name!r}", where=file, hint=hint, cls="invalid")
    return {
        name: {key: _text(key, value, f"{name}.{key}", file) for key, value in each.items()}
        for name, each in document.items()
    }


def _text(key: str, value: Any, name: str, file: str) -> str:
    if not _NAME.fullmatch(key):
        raise StageError(f"{name}: {_NO_NAME.format(repr(key))}", where=file, cls="invalid")
    if isinstance(value, str) and "\0" in value:
        raise StageError(f"{name} has a NUL character, which no variable can hold", where=file, cls="invalid")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    hint = "Write structured values as JSON in a text." if value is not None else 'Write "" for an empty one.'
    raise StageError(f"{name} is no text", where=file, hint=hint, cls="invalid")


def given_for(
    function: str, given: Mapping[str, Mapping[str, str]], file: str | None = None, *, named: str | None = None
) -> dict[str, str]:
    """The variables that a file sets for a function, which may be `named` by its FunctionName; its own before those for all.

    Raises StageError for reserved names.
    """
    names = (ALL, named or ALL, function.rpartition("/")[2], function)
    found = {key: value for name in names for key, value in given.get(name, {}).items()}
    reserved = sorted(RESERVED & set(found))
    if reserved:
        hint = "Credentials and the region come from this command's own environment, or --profile and --region."
        raise StageError(f"Lambda reserves {', '.join(reserved)}", where=file, hint=hint, cls="invalid")
    return found


def refused(template: Template, resource: Resource, stated: Mapping[str, str]) -> list[Problem]:
    """What Lambda would refuse of the variables that a template states for a function."""
    problems = []
    reserved = sorted(RESERVED & set(stated))
    if reserved:
        message = f"{resource.id}: Lambda reserves these variables: {', '.join(reserved)}"
        problems.append(template.problem(resource.key, message, "Lambda sets them itself: remove them."))
    wrong = next((key for key in stated if not _NAME.fullmatch(key) and key not in RESERVED), None)
    if wrong is not None:
        problems.append(template.problem(resource.key, f"{resource.id}: {_NO_NAME.format(repr(wrong))}"))
    size = sum(len(key.encode()) + len(value.encode()) for key, value in stated.items())
    if size > ALL_BYTES:
        message = f"{resource.id}: its variables have {size:,} bytes, and Lambda takes {ALL_BYTES:,}"
        problems.append(template.problem(resource.key, message, "Keep what is large in a file of the image."))
    return problems

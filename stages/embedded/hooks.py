"""Everything that we use or replace of ministack beyond its public face, in one place.

ministack is pinned exactly; the names below are private to it. tests/integration/stages/embedded/test_contract.py fails
when another version no longer has them or no longer means the same by them.
"""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

from ministack import app
from ministack.core.persistence import save_all
from ministack.core.responses import error_response_json, get_account_id, get_region
from ministack.services import cloudformation, lambda_svc
from ministack.services.cloudformation import engine, handlers, provisioners

from stages.embedded.functions import NoSuchImage, pinned

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.contract import Json
    from stages.embedded.functions import Functions

AWS = app.app
"""ministack's ASGI application."""

_acting_for: contextvars.ContextVar[str | None] = contextvars.ContextVar("acting_for", default=None)


_nested: contextvars.ContextVar[bool] = contextvars.ContextVar("nested", default=False)


def act_for(account: str) -> None:
    """Serve the request at hand in the account. Calls of an API's endpoint are not signed, so they say no account."""
    _acting_for.set(account)


def save() -> None:
    """Write ministack's state to disk now."""
    save_all(app._build_persistence_save_dict())  # noqa: SLF001 - see the module


def install(functions: Functions) -> None:
    """Make ministack run image functions with ours, refuse images that are not there, know whom we act for, expand nested templates,
    and keep one stack for all change sets that would make it.
    """
    _run_functions(functions)
    _check_images()
    _know_accounts()
    _expand_nested()
    _keep_reviewed()


def _run_functions(functions: Functions) -> None:
    run_archive, kill_pool = lambda_svc._execute_function_docker, lambda_svc._pool_kill_function  # noqa: SLF001 - see the module

    def execute(func: Json, event: Any, request_id: str) -> Json:
        config = func.get("config") or func
        if config.get("PackageType") != "Image":
            archived: Json = run_archive(func, event, request_id)
            return archived
        return functions.run(config, event, request_id)

    def kill(account: str, name: str) -> None:
        kill_pool(account, name)
        functions.changed(account, name)

    lambda_svc._execute_function_docker = execute  # noqa: SLF001 - see the module
    lambda_svc._pool_kill_function = kill  # noqa: SLF001 - see the module


def _check_images() -> None:
    lambda_svc._create_function = _refusing(lambda_svc._create_function, lambda data: data.get("Code") or {})  # noqa: SLF001 - see the module
    lambda_svc._update_code = _refusing(lambda_svc._update_code, lambda _, data: data)  # noqa: SLF001 - see the module
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]  # noqa: SLF001 - see the module
    create, update, delete = handlers["create"], handlers["update"], handlers["delete"]

    def checked_create(logical_id: str, props: Json, stack_name: str) -> Any:
        _require_image(props.get("Code") or {})
        return create(logical_id, props, stack_name)

    def checked_update(physical_id: str, old: Json, new: Json, stack_name: str, logical_id: str | None = None) -> Any:
        _require_image(new.get("Code") or {})
        return update(physical_id, old, new, stack_name, logical_id)

    def telling_delete(physical_id: str, props: Json) -> Any:
        lambda_svc._pool_kill_function(get_account_id(), physical_id)  # noqa: SLF001 - see the module
        return delete(physical_id, props)

    handlers.update(create=checked_create, update=checked_update, delete=telling_delete)


def _refusing(call: Callable[..., Any], code: Callable[..., Json]) -> Callable[..., Any]:
    """An action of Lambda's API that first looks whether the image is there."""

    def checked(*arguments: Any) -> Any:
        try:
            _require_image(code(*arguments))
        except NoSuchImage as error:
            return error_response_json("InvalidParameterValueException", str(error), 400)
        return call(*arguments)

    return checked


def _require_image(code: Json) -> None:
    if uri := code.get("ImageUri"):
        pinned(str(uri), get_region())


def _know_accounts() -> None:
    given = app.extract_access_key_id

    def acting(headers: Json, query: Json | None = None) -> Any:
        return _acting_for.get() or given(headers, query)

    app.extract_access_key_id = acting


def _expand_nested() -> None:
    """Apply macros such as SAM's to nested templates too, as CloudFormation does; ministack does so at the root alone.

    It asks what the parameters are right after it has read a nested template, so that is where the template is expanded.
    """
    given = engine._resolve_parameters  # noqa: SLF001 - see the module

    def expanding(template: Json, provided: Any, *rest: Any) -> Any:
        if _nested.get():
            _nested.set(False)  # expanding it asks for them as well
            made = engine._apply_transforms(template, provided)  # noqa: SLF001 - see the module
            if error := getattr(made, "error", None):
                raise ValueError(error)
            expanded = dict(made)
            template.clear()
            template.update(expanded)
        return given(template, provided, *rest)

    def nested(deploy: Callable[..., Any]) -> Callable[..., Any]:
        def marked(*arguments: Any, **named: Any) -> Any:
            before = _nested.get()
            _nested.set(True)
            try:
                return deploy(*arguments, **named)
            finally:
                _nested.set(before)

        return marked

    engine._resolve_parameters = expanding  # noqa: SLF001 - see the module
    handlers = provisioners._RESOURCE_HANDLERS["AWS::CloudFormation::Stack"]  # noqa: SLF001 - see the module
    handlers.update({each: nested(handlers[each]) for each in ("create", "update")})


def _keep_reviewed() -> None:
    """Let all change sets that would make a stack be of one stack, as in CloudFormation; ministack makes another for each.

    The one that it made for the new change set goes, and what refers to it is of the one that was there.
    """
    given = handlers._ACTION_HANDLERS["CreateChangeSet"]  # noqa: SLF001 - see the module
    stacks, change_sets = cloudformation._stacks, cloudformation._change_sets  # noqa: SLF001 - see the module

    def create(params: Json) -> Any:
        named = params.get("StackName")
        name = str(named[0] if isinstance(named, list) else named)
        before = stacks.get(name)
        status, headers, body = given(params)
        after = stacks.get(name)
        if not before or before["StackStatus"] != "REVIEW_IN_PROGRESS" or after is before:
            return status, headers, body
        stacks[name] = before
        if after is None:  # it was rejected
            return status, headers, body
        ours, other = before["StackId"], after["StackId"]
        for each in change_sets.values():
            if each["StackId"] == other:
                each["StackId"] = ours
        cloudformation._stack_events.pop(other, None)  # noqa: SLF001 - see the module
        return status, headers, body.replace(other.encode(), ours.encode())

    handlers._ACTION_HANDLERS["CreateChangeSet"] = create  # noqa: SLF001 - see the module

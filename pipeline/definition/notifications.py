"""Notifications of a definition: whether each says what its kind takes, and names what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.definition.hints import did_you_mean
from stages.contract import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.definition.draft import Draft
    from pipeline.definition.model import Notification
    from pipeline.definition.positions import Path, Positions

_TAKES = {
    "webhook": ("url or url-secret", "secret"),
    "slack": ("url or url-secret",),
    "sns": ("topic", "environment"),
    "github-deployment": ("repository", "token"),
}
"""The keys that each must have."""
_MAY = {"github-deployment": ("url",)}
_SAMPLES = {
    "webhook": "{to: webhook, url: https://HOST/PATH, secret: NAME}",
    "slack": "{to: slack, url-secret: NAME}",
    "sns": "{to: sns, topic: ARN, environment: NAME}",
    "github-deployment": "{to: github-deployment, repository: OWNER/NAME, token: NAME}",
}


def problems(draft: Draft, positions: Positions) -> Iterator[Problem]:
    """What is wrong with them."""
    for index, each in enumerate(draft.notifications):
        path: Path = ("notifications", index)
        said = _said(each)
        for needed in _TAKES[each.to]:
            names = needed.split(" or ")
            count = sum(name in said for name in names)
            if count != 1:
                message = f"a notification to {each.to} {'lacks' if not count else 'takes one of'} {needed}"
                yield Problem(message, *positions.value(*path), f"Write: {_SAMPLES[each.to]}")
        known = {name for needed in _TAKES[each.to] for name in needed.split(" or ")} | set(_MAY.get(each.to, ()))
        for name in said:
            if name not in known:
                message = f"a notification to {each.to} takes no {name!r}"
                yield Problem(message, *positions.key(*path, name), f"It takes: {', '.join(sorted(known))}.")
        yield from _unknown(path, each, draft, positions)


def secrets(draft: Draft) -> set[str]:
    """The names of the secrets that they take."""
    return {name for each in draft.notifications for name in (each.url_secret, each.secret, each.token) if name}


def _said(each: Notification) -> Mapping[str, str]:
    """What of the keys is said that only some take."""
    values = {
        "url": each.url,
        "url-secret": each.url_secret,
        "secret": each.secret,
        "topic": each.topic,
        "environment": each.environment,
        "repository": each.repository,
        "token": each.token,
    }
    return {name: value for name, value in values.items() if value is not None}


def _unknown(path: Path, each: Notification, draft: Draft, positions: Positions) -> Iterator[Problem]:
    for key, name in (("url-secret", each.url_secret), ("secret", each.secret), ("token", each.token)):
        if name is not None and name not in draft.names["secrets"]:
            hint = did_you_mean(name, draft.names["secrets"], what="secrets")
            yield Problem(f"there is no secret {name!r}", *positions.value(*path, key), hint)
    wanted: list[tuple[Path, str]] = [((*path, "environments", at), name) for at, name in enumerate(each.environments)]
    wanted += [((*path, "environment"), each.environment)] if each.environment else []
    for at, name in wanted:
        if name not in draft.names["environments"]:
            hint = did_you_mean(name, draft.names["environments"], what="environments")
            yield Problem(f"there is no environment {name!r}", *positions.value(*at), hint)
    environment = draft.environments.get(each.environment or "")
    auth = environment.auth if environment else None
    if auth and auth.by_roles and auth.of("notifications") is None:
        hint = "Add to its `auth`: roles: {notifications: arn:aws:iam::…:role/…}"
        message = f"environment {each.environment!r} has no role that publishes notifications"
        yield Problem(message, *positions.value(*path, "environment"), hint)

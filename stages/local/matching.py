"""Which route of an API a request takes. Pure.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html: the most specific match wins, then
`{name}`, then `{name+}`, then `$default`. A REST API chooses the path first, and then looks for the method.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from stages.local.routes import ANY, DEFAULT

if TYPE_CHECKING:
    from stages.local.routes import Api, Route


@dataclass(frozen=True)
class Match:
    """The route, and what its path's parameters are."""

    route: Route
    parameters: dict[str, str] = field(default_factory=dict)


def path_in(api: Api, path: str) -> str:
    """The path without the stage, which stands before it in an address of AWS, and may stand there here.

    A path of a route that begins with what the stage is called is taken as it is.
    """
    prefix = f"/{api.stage}"
    if api.stage == DEFAULT or not _begins(path, prefix):
        return path
    if any(_begins(match.route.path, prefix) for _, match in _candidates(api, path)):
        return path
    return path.removeprefix(prefix) or "/"


def _begins(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def find(api: Api, method: str, path: str) -> Match | None:
    """The route that a request takes; `path` is without the stage, and undecoded."""
    found = _candidates(api, path)
    if api.kind == "rest" and found:
        best = min(rank for rank, _ in found)
        found = [each for each in found if each[0] == best]
    able = [(rank, match.route.method == ANY, match) for rank, match in found if match.route.method in (method, ANY)]
    if able:
        return min(able, key=lambda each: each[:2])[2]
    return next((Match(each) for each in api.routes if each.path == DEFAULT and each.method in (method, ANY)), None)


def on_path(api: Api, path: str) -> list[Route]:
    """The routes of the path that a request to a REST API takes, whatever their methods."""
    found = sorted(_candidates(api, path), key=lambda each: each[0])
    return [match.route for rank, match in found if rank == found[0][0]]


def _candidates(api: Api, path: str) -> list[tuple[tuple[int, ...], Match]]:
    segments = _segments(path)
    found = []
    for route in api.routes:
        if route.path != DEFAULT:
            compared = _compare(_segments(route.path), segments)
            if compared:
                found.append((compared[0], Match(route, compared[1])))
    return found


def _compare(wanted: list[str], segments: list[str]) -> tuple[tuple[int, ...], dict[str, str]] | None:
    """How specific the match is, lower for more, and the parameters; None if it is none."""
    rank: list[int] = []
    parameters: dict[str, str] = {}
    for index, want in enumerate(wanted):
        if want.startswith("{") and want.endswith("+}") and len(segments) > index:
            parameters[want[1:-2]] = "/".join(segments[index:])
            return (*rank, 2), parameters
        if index >= len(segments):
            return None
        if want.startswith("{") and want.endswith("}"):
            parameters[want[1:-1]] = segments[index]
            rank.append(1)
        elif want == segments[index]:
            rank.append(0)
        else:
            return None
    return (tuple(rank), parameters) if len(segments) == len(wanted) else None


def _segments(path: str) -> list[str]:
    return [unquote(each) for each in path.split("/") if each]

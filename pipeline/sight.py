"""What of this machine a stage may see, by what its kind needs: everything else can be hidden from it.

A variable that a stage is handed may name a file, and then it sees that file too.
"""

from __future__ import annotations

import configparser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageFailed
from pipeline.executors import Sight

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from stages.contract import Request
    from stages.kinds import Need

RECORD = ".towpath"
VARIABLE = "TOWPATH_VISIBLE"
"""Further files and folders that stages may read, with colons between them."""

_NAMING_FILES = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"),
    *("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"),
    *("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "DOCKER_CERT_PATH", "DOCKER_CONFIG", "SSH_AUTH_SOCK"),
)
_AWS_CACHES = ("sso/cache", "login/cache", "cli/cache")
"""Below ~/.aws, where tokens that were renewed are kept."""
_AWS_NAMING = ("web_identity_token_file", "ca_bundle", "credential_process")
"""Keys of AWS's configuration whose value begins with a file.

https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html
"""


def sight(
    request: Request, needs: Collection[Need], handed: Mapping[str, str], ours: Mapping[str, str], work: Path
) -> Sight:
    """Give what a stage that is handed these variables sees. `ours` are the runner's."""
    named = [Path(handed[name]) for name in _NAMING_FILES if handed.get(name, "").startswith("/")]
    read, write = [*named, *_listed(ours.get(VARIABLE, ""))], []
    hidden = []
    source = Path(request.source) if request.source else work
    if not source.is_relative_to(work):  # else it is just the files that its options name
        read.append(source)
        hidden.append(source / RECORD)
    caches = [Path(request.cache)] if request.cache else []
    if request.kind == "build":
        read += _of_options(request.options, source)
        caches += _kept(request.options, source)
    changes = changed(request.options, source)
    read += [source / ".git"] if changes else []  # it stays as it is in what may be changed
    write += changes
    for each in caches:
        each.mkdir(parents=True, exist_ok=True)  # what is not there cannot be in sight
    write += caches
    engine = handed.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if "engine" in needs and engine.startswith("unix://"):
        write.append(Path(engine.removeprefix("unix://")))
    if "docker-config" in needs:
        write += _of_buildx(handed)
    home = Path(handed.get("HOME") or work)
    if home != work:
        read += _of_aws(home, handed)
        write += [home / ".aws" / each for each in _AWS_CACHES]
    return Sight(tuple(read), tuple(write), tuple(hidden), _has_network(needs, engine))


def changed(options: Mapping[str, Any], source: Path) -> list[Path]:
    """What of the project a program may change; what is not there yet becomes a folder. Raises StageFailed for what it may not."""
    found = []
    for name in options.get("writes") or ():
        path, root = source / name, source.resolve()
        wrong = forbidden(name)
        if wrong or not path.resolve().is_relative_to(root):
            raise StageFailed(f"the stage may write {name}, {wrong or 'which leads out of the project'}", hint=_NAME)
        if forbidden(path.resolve().relative_to(root).as_posix()):
            raise StageFailed(f"the stage may write {name}, which leads into what no stage may write", hint=_NAME)
        if not path.exists():
            path.mkdir(parents=True)
        found.append(path)
    return found


_NAME = "Name what the program makes of the project: writes: [dist]"


def forbidden(name: str) -> str | None:
    """Say why a path of the project may not be written by a stage; None if it may. Pure.

    What is in `.git` says what programs Git runs, and the runner runs Git.
    """
    parts = [each for each in name.split("/") if each not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        return "which leads out of the project"
    whose = {".git": "Git's", RECORD: "the runner's"}
    return f"which is {whose[parts[0]]} own" if parts and parts[0] in whose else None


def _has_network(needs: Collection[Need], engine: str) -> bool:
    """An engine, or an AWS on this machine, is reached by it too."""
    return "network" in needs or ("engine" in needs and not engine.startswith("unix://"))


def _listed(text: str) -> list[Path]:
    return [Path(each).expanduser() for each in text.split(":") if each.startswith(("/", "~"))]


def _of_buildx(handed: Mapping[str, str]) -> list[Path]:
    """Where the docker client's plugin for building notes what it does, and fails if it cannot."""
    own = [Path(handed["BUILDX_CONFIG"])] if "BUILDX_CONFIG" in handed else []
    return own + ([Path(handed["DOCKER_CONFIG"]) / "buildx"] if "DOCKER_CONFIG" in handed else [])


def _of_aws(home: Path, handed: Mapping[str, str]) -> Iterator[Path]:
    """AWS's configuration, and the files it names."""
    yield home / ".aws"
    parser = configparser.RawConfigParser(strict=False)
    with suppress(configparser.Error, OSError, UnicodeDecodeError):  # the stage will say what is wrong with it
        parser.read(handed.get("AWS_CONFIG_FILE") or home / ".aws/config", encoding="utf-8")
    values = [parser.get(section, key, fallback="") for section in parser.sections() for key in _AWS_NAMING]
    yield from (Path(each.split()[0]).expanduser() for each in values if each.startswith(("/", "~")))


def _of_options(options: Mapping[str, Any], source: Path) -> Iterator[Path]:
    """Files outside the project that options of `build` name: keys of SSH, caches."""
    for each in options.get("ssh") or ():
        yield from (source / path for path in str(each).partition("=")[2].split(",") if path)
    for fields in _local(options.get("cache-from")):
        yield source / fields.get("src", "")


def _kept(options: Mapping[str, Any], source: Path) -> list[Path]:
    return [source / fields["dest"] for fields in _local(options.get("cache-to")) if fields.get("dest")]


def _local(entries: Any) -> Iterator[dict[str, str]]:
    """Those of `type=local,src=DIR`."""
    for entry in entries or ():
        fields = dict(part.partition("=")[::2] for part in str(entry).split(","))
        if fields.get("type") == "local":
            yield fields

"""What an image is named by: an archive, an engine's id, a local name, or a registry's by tag or digest. Pure.

The grammar is the distribution project's, https://github.com/distribution/reference: the part before the first slash is a
host if it has a dot or a port or is `localhost`, so that `host:5000/app` has no tag.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["archive", "id", "local", "registry-tag", "registry-digest"]

_ID = re.compile(r"sha256:[0-9a-f]{64}|[0-9a-f]{64}|[0-9a-f]{12}")
_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?")
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME_CHARACTERS = 255

_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr(?P<family>\.ecr|-ecr)(?P<fips>-fips)?\.(?P<region>[a-z]{2,}(?:-[a-z]+)+-\d+)\.(?P<suffix>.+)"
)
_SUFFIXES = {
    "amazonaws.com": "aws",
    "amazonaws.com.cn": "aws-cn",
    "c2s.ic.gov": "aws-iso",
    "sc2s.sgov.gov": "aws-iso-b",
    "cloud.adc-e.uk": "aws-iso-e",
    "csp.hci.ic.gov": "aws-iso-f",
    "amazonaws.eu": "aws-eusc",
}
_DUAL_STACK_SUFFIXES = {"on.aws": "aws", "on.amazonwebservices.com.cn": "aws-cn"}
"""https://docs.aws.amazon.com/general/latest/gr/ecr.html; partitions as botocore's partitions.json has them."""


@dataclass(frozen=True)
class Reference:
    """How somebody named an image.

    `text` is the name as it was written. `host` and `digest` are a registry's; `name` is a repository without its host, or the
    path of an archive, or an id. A registry's or local name with neither tag nor digest has the tag `latest`.
    """

    kind: Kind
    text: str
    name: str
    host: str | None = None
    tag: str | None = None
    digest: str | None = None

    @property
    def repository(self) -> str:
        """The repository with its host."""
        return f"{self.host}/{self.name}" if self.host else self.name


@dataclass(frozen=True)
class EcrHost:
    """A private registry of Amazon ECR."""

    account: str
    region: str
    partition: str
    fips: bool
    dual_stack: bool


def parse(text: str) -> Reference:
    """Take a name apart. Raises ValueError with what is wrong with it."""
    if text.endswith(_ARCHIVES):
        return Reference("archive", text, text)
    if _ID.fullmatch(text):
        return Reference("id", text, text)
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is no digest: it is sha256: and 64 hexadecimal digits")
    host, name, tag = _parts(rest)
    if host is not None and not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is no host")
    if not _NAME.fullmatch(name) or len(name) + len(host or "") >= _NAME_CHARACTERS:
        raise ValueError(f"{name!r} is no name of a repository: it is made of a-z 0-9 . _ - and /")
    if tag is not None and not TAG.fullmatch(tag):
        raise ValueError(f"{tag!r} is no tag: it has at most 128 of A-Z a-z 0-9 _ . - and starts with none of . -")
    if not digest and tag is None:
        tag = "latest"
    kind: Kind = "local" if host is None else "registry-digest" if digest else "registry-tag"
    return Reference(kind, text, name, host, tag, digest or None)


def is_name(text: str) -> bool:
    """Whether it is a repository's name, without host and tag."""
    return bool(_NAME.fullmatch(text))


def _parts(text: str) -> tuple[str | None, str, str | None]:
    first, slash, remainder = text.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    host, path = (first, remainder) if is_host else (None, text)
    name, colon, tag = path.rpartition(":")
    return (host, name, tag) if colon else (host, path, None)


def ecr_host(host: str) -> EcrHost | None:
    """The registry of Amazon ECR that a host is, in any partition, over FIPS or dual-stack endpoints; None for others."""
    match = _ECR.fullmatch(host)
    if match is None:
        return None
    dual_stack = match["family"] == "-ecr"
    partition = (_DUAL_STACK_SUFFIXES if dual_stack else _SUFFIXES).get(match["suffix"])
    if partition is None:
        return None
    if partition == "aws" and match["region"].startswith("us-gov-"):
        partition = "aws-us-gov"
    return EcrHost(match["account"], match["region"], partition, bool(match["fips"]), dual_stack)

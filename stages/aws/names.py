"""Where a name shaped like AWS's is reached from here.

Artifacts hold AWS-shaped names only, so that a release reads the same wherever it goes. On AWS a name is its own address;
the embedded AWS answers for all of them below one loopback address, and this module alone knows how the two correspond:

    <account>.dkr.ecr.<region>.amazonaws.com/<repository>          <address>/<account>/<region>/<repository>
    https://<id>.execute-api.<region>.amazonaws.com/<stage>/<path>  http://<address>/_api/<account>/<region>/<id>/<stage>/<path>

Standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from stages.contract import Access

API_PREFIX = "/_api/"
"""Below it the embedded AWS serves API Gateway's endpoints. An underscore cannot begin a bucket's name, so S3 has no such path."""

ECR_HOST = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")
"""The host in the name of an image in ECR."""

_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?")
"""Hosts that engines speak plain HTTP with."""

_API_HOST = re.compile(r"(?P<id>[a-z0-9]+)\.execute-api\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")


@dataclass(frozen=True)
class Registry:
    """Where an OCI registry's API is: `<scheme>://<host>/v2/<prefix>/<repository>/...`, without `prefix` if that is empty."""

    scheme: str
    host: str
    prefix: str

    def repository(self, name: str) -> str:
        """The repository's name as this registry's API knows it."""
        return f"{self.prefix}/{name}" if self.prefix else name


def registry(image_host: str, access: Access) -> Registry:
    """Where the registry named by the host of an image's name answers."""
    if access.endpoint_url and (match := ECR_HOST.fullmatch(image_host)):
        return Registry("http", urlsplit(access.endpoint_url).netloc, f"{match['account']}/{match['region']}")
    return Registry("http" if _LOOPBACK.fullmatch(image_host) else "https", image_host, "")


def engine_reference(image_uri: str, access: Access) -> str:
    """What an engine is told to push or pull for an image's name; tag and digest stay."""
    host, _, rest = image_uri.partition("/")
    where = registry(host, access)
    return f"{where.host}/{where.repository(rest)}"


def local_url(url: str, account: str, access: Access) -> str:
    """The address that opens from here for an API Gateway endpoint of the account; any other URL unchanged."""
    parts = urlsplit(url)
    match = _API_HOST.fullmatch(parts.hostname or "")
    if not (access.endpoint_url and match):
        return url
    path = f"{API_PREFIX}{account}/{match['region']}/{match['id']}{parts.path or '/'}"
    return parts._replace(scheme="http", netloc=urlsplit(access.endpoint_url).netloc, path=path).geturl()

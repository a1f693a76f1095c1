"""The registries that images go to: sessions, logins and connections, each made when first needed and then shared."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.aws import ecr, names
from stages.contract import Access, StageError, Target
from stages.images import logins, registry
from stages.images.logins import Auth, Login
from stages.images.registry import Repository
from stages.log import log

if TYPE_CHECKING:
    from urllib3 import PoolManager

    from stages.aws.session import Session
    from stages.package.repositories import Place

READERS = 4
"""Threads that read manifests back while others push."""


@dataclass(frozen=True)
class Destination:
    """A repository: where it is, what the engine is told instead, and a client of ours."""

    place: Place
    engine_name: str
    repository: Repository


class Registries(contextlib.ExitStack):
    """What is open. `jobs` threads use a registry's connections at the same time. Closes them at the end."""

    def __init__(self, target: Target | None, access: Access | None, jobs: int) -> None:
        super().__init__()
        self.target, self.access, self.jobs = target, access or Access(), jobs
        self._session: Session | None = None
        self._elsewhere: dict[tuple[str, str], Session] = {}
        self._auths: dict[str, Auth] = {}
        self._http: dict[str, PoolManager] = {}
        self._opened: dict[Place, Destination] = {}

    def session(self, account: str, region: str) -> Session:
        """The session for an account's things in a region. Raises StageError: no credentials, another account."""
        from stages.aws.session import connect

        if self._session is None:
            self._session = connect(self.target or Target("package", account, region, _partition(region)), self.access)
        where = (account, region)
        if where not in self._elsewhere:
            self._elsewhere[where] = self._session.elsewhere(account, region)
        return self._elsewhere[where]

    def prepare(self, account: str, region: str) -> None:
        """Make the session's client of ECR, before several threads use it: they must not all make one."""
        _ = self.session(account, region).ecr

    def open(self, place: Place) -> Destination:
        """A repository of a registry, wherever that answers, with a login if there is one. Raises StageError."""
        if place not in self._opened:
            where = names.registry(place.host, self.access)
            url = f"{where.scheme}://{where.host}/v2/{where.repository(place.name)}"
            if where.host not in self._http:
                self._http[where.host] = registry.connections(url, self.jobs + READERS)
                self.callback(self._http[where.host].clear)
            repository = Repository(url, self._http[where.host], self._auth(place))
            self._opened[place] = Destination(place, names.engine_reference(place.uri, self.access), repository)
        return self._opened[place]

    def _auth(self, place: Place) -> Auth:
        """ECR's token is good for all of a region, so it is asked for once; other registries' are for one repository.

        A login to ECR that the user's Docker configuration has is used for as long as the registry takes it.
        """
        if place.ecr is None:
            return Auth(logins.configured(place.host))
        if place.host not in self._auths:
            session = self.session(*place.ecr)

            def log_in() -> Login:
                return Login(*ecr.login(session))

            self._auths[place.host] = Auth(self._existing(place.host) or log_in(), log_in)
        return self._auths[place.host]

    def _existing(self, host: str) -> Login | None:
        """The user's login to a registry of ECR's, if there is one that can be used; it says nothing of an embedded one."""
        if self.access.endpoint_url:
            return None
        try:
            return logins.configured(host)
        except StageError as error:
            log(f"{error.message}; ECR is asked for a token instead", level="warning")
            return None

    def make_missing(self, place: Place, making: ecr.Making) -> None:
        """Make sure that ECR has the repository; other registries make theirs when something is pushed."""
        if place.ecr is not None:
            account, region = place.ecr
            ecr.ensure_repository(self.session(account, region), account, place.name, making)


def _partition(region: str) -> str:
    return next((f"aws-{each}" for each in ("cn", "us-gov") if region.startswith(f"{each}-")), "aws")

"""A session with AWS as one target: the right account, bounded waiting, typed clients.

`connect` compares who we are with the account the target declares before anything else is done. Clients are made when
first used. Those for CloudFormation and Lambda have botocore's hidden retries switched off; calls through them go
through `stages.aws.retry.call`. The others keep botocore's standard ones.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stages.aws.retry import explained
from stages.contract import StageError

if TYPE_CHECKING:
    import boto3
    from botocore.config import Config
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient

    from stages.aws.signin import Credentials
    from stages.contract import Access, Target

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
OWN_RETRIES = frozenset({"cloudformation", "lambda"})
"""Services whose calls are tried again by `stages.aws.retry`, never by botocore."""


_making = threading.Lock()
"""Clients may be used by several threads, and only be made by one."""


@dataclass(frozen=True)
class Session:
    """Clients for one target. `arn` is who we are there; it is None until `connect` has asked."""

    target: Target
    access: Access
    boto: boto3.Session
    arn: str | None = None

    def client(self, service: str, *, read_timeout_s: float = READ_TIMEOUT_S) -> Any:
        """A new client. The properties below are the usual, typed and cached, way to get one."""
        config = client_config(service, read_timeout_s, embedded=self.target.embedded)
        make: Any = self.boto.client  # its overloads know only literal names
        with explained(f"setting up access to {service}"), _making:
            return make(service, endpoint_url=self.access.endpoint_url, config=config)

    def elsewhere(self, account: str, region: str) -> Session:
        """The same session for another region, and for resources of another account that lets us in."""
        if (account, region) == (self.target.account, self.target.region):
            return self
        target = replace(self.target, region=region)
        if self.target.embedded:  # it lets nobody into another account, but does not ask who we are either
            target = replace(target, account=account)
        return Session(target, self.access, _boto(target, self.access), self.arn)

    def renewed(self) -> Session | None:
        """A session by whatever credentials there are now, None if they are the ones that this one has. Raises StageError as `connect`."""
        ours, fresh = self.boto.get_credentials(), connect(self.target, self.access)
        theirs = fresh.boto.get_credentials()
        if self.target.embedded or ours is None or theirs is None or ours.access_key == theirs.access_key:
            return None
        return fresh

    @cached_property
    def sts(self) -> STSClient:
        client: STSClient = self.client("sts")
        return client

    @cached_property
    def ecr(self) -> ECRClient:
        client: ECRClient = self.client("ecr")
        return client

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        client: CloudFormationClient = self.client("cloudformation")
        return client

    @cached_property
    def lambda_(self) -> LambdaClient:
        client: LambdaClient = self.client("lambda")
        return client

    @cached_property
    def secrets_manager(self) -> SecretsManagerClient:
        client: SecretsManagerClient = self.client("secretsmanager")
        return client

    @cached_property
    def ssm(self) -> SSMClient:
        client: SSMClient = self.client("ssm")
        return client

    @cached_property
    def s3(self) -> S3Client:
        client: S3Client = self.client("s3")
        return client


def connect(target: Target, access: Access, lent: Credentials | None = None) -> Session:
    """Open a session for the target and make sure that it is in the declared account.

    `lent` are credentials at hand; without them they are found where AWS's SDKs look. Raises StageError: no or expired credentials, unknown profile, unreachable endpoint, another account.
    """
    session = Session(target, access, _boto(target, access, lent))
    try:
        with explained(f"asking AWS who we are (environment {target.environment}, region {target.region})"):
            identity = session.sts.get_caller_identity()
    except StageError as error:
        if target.embedded and error.cls == "retryable":
            error.hint = "Is the embedded AWS running? Start it with `towpath embedded start`."
        raise
    refuse_other_account(target, identity["Account"], identity["Arn"], access)
    return Session(target, access, session.boto, identity["Arn"])


def who_we_are(profile: str | None, region: str | None) -> tuple[str, str, str]:
    """Account, region and partition that our credentials and configuration are for, with no environment to compare with.

    Raises StageError: no credentials, no region.
    """
    import boto3

    with explained("asking AWS who we are"):
        session = boto3.Session(profile_name=profile, region_name=region)
        if session.region_name is None:
            raise StageError(
                "no region is known", hint="Say it: --region REGION, or in AWS_DEFAULT_REGION or the AWS configuration."
            )
        config = client_config("sts", READ_TIMEOUT_S, embedded=False)
        identity = session.client("sts", config=config).get_caller_identity()
    return identity["Account"], session.region_name, identity["Arn"].split(":")[1]


def configured_region(profile: str | None) -> str | None:
    """The region that AWS's variables and configuration say, if they do. Raises StageError for a broken configuration."""
    import boto3

    with explained("reading the AWS configuration"):
        region: str | None = boto3.Session(profile_name=profile).region_name
        return os.environ.get("AWS_REGION") or region


def ambient_s3(connections: int) -> S3Client:
    """A client of S3 for whoever AWS's own variables say we are: profile, region and endpoint included. Safe for threads.

    Its calls are tried again by `stages.aws.retry`, never by botocore. Raises StageError for a broken configuration.
    """
    import boto3
    from botocore.config import Config

    with explained("reading the AWS configuration"):
        config = client_config("s3", READ_TIMEOUT_S, embedded=False)
        own = Config(retries={"total_max_attempts": 1, "mode": "standard"}, max_pool_connections=connections)
        region = os.environ.get("AWS_REGION") or None  # which botocore does not know, as other tools do
        client: S3Client = boto3.Session(region_name=region).client("s3", config=config.merge(own))
        return client


def refuse_other_account(target: Target, account: str, arn: str, access: Access) -> None:
    """Raise StageError if who we are belongs to another account or partition than the target declares."""
    partition = arn.split(":")[1]
    if (account, partition) == (target.account, target.partition):
        return
    declared, ours = target.account, account
    if account == target.account:
        declared, ours = f"{target.account} in {target.partition}", f"{account} in {partition}"
    source = f"the profile {access.profile!r} is" if access.profile else "the ambient credentials are"
    if access.role:
        source = f"the role {access.role} is"
    raise StageError(
        f"the environment {target.environment} is account {declared}, but {source} for account {ours}: we are {arn}",
        hint=f"Use credentials for account {target.account}, or correct `account` of the environment "
        f"{target.environment}. Nothing was touched.",
    )


def _boto(target: Target, access: Access, lent: Credentials | None = None) -> boto3.Session:
    import boto3
    import botocore.session

    if lent:
        return boto3.Session(
            aws_access_key_id=lent.key_id,
            aws_secret_access_key=lent.secret,
            aws_session_token=lent.token,
            region_name=target.region,
            botocore_session=_loading_fast(botocore.session.Session()),
        )

    if target.embedded:
        return boto3.Session(
            aws_access_key_id=target.account,  # it tells its accounts apart by this
            aws_secret_access_key="embedded",  # noqa: S106 - nothing checks it
            region_name=target.region,
            botocore_session=_unconfigured(),
        )
    with explained(f"reading the AWS configuration for the environment {target.environment}"):
        core = _loading_fast(botocore.session.Session(profile=access.profile))
        return boto3.Session(profile_name=access.profile, region_name=target.region, botocore_session=core)


def _unconfigured() -> Any:
    """A botocore session that reads no AWS configuration of the machine: a broken or odd one must not matter here."""
    import botocore.session

    nowhere = (None, None, os.devnull, None)
    variables = {"profile": (None, None, None, None), "config_file": nowhere, "credentials_file": nowhere}
    return _loading_fast(botocore.session.Session(session_vars=variables))


def _loading_fast(core: Any) -> Any:
    """Have botocore read its descriptions of services, megabytes of JSON, into plain dictionaries: half the time that it takes by itself."""
    from botocore.loaders import JSONFileLoader

    class Models(JSONFileLoader):
        def load_file(self, file_path: str) -> Any:
            for ending, opened in ((".json", open), (".json.gz", gzip.open)):
                with suppress(FileNotFoundError), opened(file_path + ending, "rb") as file:
                    return json.load(file)
            return None

    core.get_component("data_loader").file_loader = Models()
    return core


def client_config(service: str, read_timeout_s: float, *, embedded: bool) -> Config:
    """How a client of a service waits and tries again, and what it says of itself."""
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=read_timeout_s,
        retries={"total_max_attempts": 1 if service in OWN_RETRIES else 4, "mode": "standard"},
        user_agent_extra=f"towpath/{version()}",
        tcp_keepalive=True,
    )
    # A proxy of the machine must not be asked for this machine's own loopback address.
    return config.merge(Config(proxies={}, s3={"addressing_style": "path"})) if embedded else config


def version() -> str:
    """The version of Towpath that is installed."""
    try:
        return importlib.metadata.version("towpath")
    except importlib.metadata.PackageNotFoundError:  # run from a bare checkout
        return "0"

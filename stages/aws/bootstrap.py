"""The CloudFormation template that makes what an environment needs in its account: roles, who may assume them, repository, bucket, keys,
and a hook that refuses images which are not pinned by digest. Pure: it is printed, and deploying it is somebody's own act.

Each role may do what its phase does, on this stack, repository and bucket alone:

    package   push images to the repository, and write to the bucket below `towpath/`
    propose   make, read and delete change sets of the stack; read what it runs. It can execute none
    apply     execute a change set of the stack, and read. What a change set changes is allowed to CloudFormation on its behalf,
              never to the role itself (aws:CalledVia)
    invoke    call the stack's functions, and read where its endpoints are
    scan      pull images of the repository

https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudformation.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-calledvia
https://docs.aws.amazon.com/lambda/latest/dg/images-create.html#gettingstarted-images-permissions
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import yaml

from stages.aws import hook

if TYPE_CHECKING:
    from stages.contract import Json

OWN = "towpath"
"""What the keys of uploads begin with, unless a stage says another prefix."""
GITHUB = "token.actions.githubusercontent.com"
MAKE = "make"
_FOR_STACK = ("Propose", "Apply", "Invoke")
_CHANGING = ("Apply", "Invoke")
_FOR_IMAGES = ("Package", "Scan")


@dataclass(frozen=True)
class Trust:
    """Who may assume the roles: jobs whose token says one of these subjects, or the principals of AWS that are named. Those of `before`
    may as well, where nothing is changed yet that runs: jobs that propose or package need not be of an environment of the CI system's.

    `issuer` is the host of who signs the tokens, `audience` what they are for; `provider` is the ARN of the account's provider for it,
    if there is one already.
    """

    issuer: str | None = None
    audience: str = ""
    subjects: tuple[str, ...] = ()
    provider: str | None = None
    before: tuple[str, ...] = ()
    principals: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What is to be made for an environment; `name` begins the names of its roles. `stages` are those that deploy the stack: their names
    are in those of their change sets.

    `pullers` are the accounts whose functions run images of the repository, `stack_policies` ARNs of managed policies that `apply` needs
    for what the stack makes besides functions, their roles, logs and APIs. `hook` says which stacks it judges: CloudFormation takes names
    of stacks alone, so those nested in one are judged only if all of the account are. `boundary` is the permissions boundary that roles
    of the stack must have. `service_role` is the ARN of the role that CloudFormation acts as on the stack, `MAKE` if it is to be made.
    """

    name: str
    trust: Trust
    stack: str | None = None
    repository: str | None = None
    bucket: str | None = None
    stages: tuple[str, ...] = ()
    pullers: tuple[str, ...] = ()
    stack_policies: tuple[str, ...] = ()
    kms: bool = False
    hook: Literal["stack", "account", "none"] = "stack"
    boundary: str | None = None
    service_role: str | None = None


def template(wanted: Wanted) -> Json:
    """Give the template."""
    resources: Json = {}
    if wanted.trust.issuer and not wanted.trust.provider:
        resources["Provider"] = _provider(wanted.trust)
    if wanted.kms:
        resources |= _key(wanted)
    if wanted.repository:
        resources["Repository"] = _repository(wanted)
    if wanted.bucket:
        resources |= _bucket(wanted)
    roles = [*(_FOR_STACK if wanted.stack else ()), *(_FOR_IMAGES if wanted.repository else ())]
    for role in roles:
        resources[role] = _role(wanted, role)
    if wanted.service_role == MAKE and wanted.stack:
        resources["ServiceRole"] = _service_role(wanted)
    if wanted.hook != "none" and wanted.stack:
        resources |= _hook(wanted)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"What Towpath needs for the environment {wanted.name}: roles by phase, and what they act on",
        "Resources": resources,
        "Outputs": {
            **{role: {"Value": _arn(role), "Description": f"auth.roles.{role.lower()}"} for role in roles},
            **(
                {"ServiceRole": {"Value": _arn("ServiceRole"), "Description": "service-role"}}
                if "ServiceRole" in resources
                else {}
            ),
        },
    }


def text(wanted: Wanted, head: str) -> str:
    """Give the template as YAML, below `head` as comments."""
    told = "".join(f"# {line}".rstrip() + "\n" for line in head.splitlines())
    return told + yaml.dump(template(wanted), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as it is, and everything out as often as it is needed."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def _arn(logical: str) -> Json:
    return {"Fn::GetAtt": [logical, "Arn"]}


def _sub(value: str) -> Json:
    return {"Fn::Sub": value}


def _policy(*statements: Json) -> Json:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(actions: list[str], resources: Any, **more: Any) -> Json:
    return {"Effect": "Allow", "Action": actions, "Resource": resources, **more}


# Who may assume the roles


def _provider(trust: Trust) -> Json:
    return {
        "Type": "AWS::IAM::OIDCProvider",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {"Url": f"https://{trust.issuer}", "ClientIdList": [trust.audience]},
    }


def _trusts(trust: Trust, role: str) -> Json:
    if not trust.issuer:
        principals: Any = list(trust.principals) or _sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:root")
        return _policy(
            {"Effect": "Allow", "Principal": {"AWS": principals}, "Action": ["sts:AssumeRole", "sts:TagSession"]}
        )
    subjects = [*trust.subjects, *(() if role in _CHANGING else trust.before)]
    says = {f"{trust.issuer}:aud": trust.audience, f"{trust.issuer}:sub": subjects}
    like = any("*" in each for each in subjects)
    return _policy(
        {
            "Effect": "Allow",
            "Principal": {"Federated": trust.provider or {"Ref": "Provider"}},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringLike" if like else "StringEquals": says},
        }
    )


# Roles


def _role(wanted: Wanted, role: str) -> Json:
    may = {"Propose": _propose, "Apply": _apply, "Invoke": _invoke, "Package": _package, "Scan": _scan}[role](wanted)
    properties: Json = {
        "RoleName": f"{wanted.name}-{role.lower()}",
        "Description": f"Towpath, environment {wanted.name}: what {role.lower()} may do",
        "MaxSessionDuration": 3600,
        "AssumeRolePolicyDocument": _trusts(wanted.trust, role),
        "Policies": [{"PolicyName": role.lower(), "PolicyDocument": _policy(*may)}],
    }
    if role == "Apply" and wanted.stack_policies and not wanted.service_role:
        properties["ManagedPolicyArns"] = list(wanted.stack_policies)
    return {"Type": "AWS::IAM::Role", "Properties": properties}


def _stack(wanted: Wanted, suffix: str = "") -> Json:
    base = "arn:${AWS::Partition}:cloudformation:${AWS::Region}:${AWS::AccountId}:"
    return _sub(f"{base}stack/{wanted.stack}{suffix}/*")


def _changing(wanted: Wanted) -> list[Json]:
    """The stack, and the change sets that stages of ours make of it: who asks by the ARN of one may be judged by that."""
    base = "arn:${AWS::Partition}:cloudformation:${AWS::Region}:${AWS::AccountId}:changeSet/"
    return [_stack(wanted), *(_sub(f"{base}towpath-*-{each}-*/*") for each in wanted.stages)]


def _nested(wanted: Wanted) -> list[Json]:
    """The stack and those nested in it, which are named after it; others may be, too."""
    return [_stack(wanted), _stack(wanted, "-*")]


def _functions(wanted: Wanted) -> Json:
    return _sub(f"arn:${{AWS::Partition}}:lambda:${{AWS::Region}}:${{AWS::AccountId}}:function:{wanted.stack}-*")


def _reading(wanted: Wanted) -> list[Json]:
    """What both phases of a deployment read: the stack, what it runs, and whether the images are there."""
    actions = ("DescribeStacks", "DescribeStackEvents", "DescribeEvents", "GetTemplate", "ListStackResources")
    may = [
        _allow([f"cloudformation:{each}" for each in actions], _nested(wanted)),
        _allow(
            ["cloudformation:DescribeChangeSet", "cloudformation:GetTemplate"],
            [*_changing(wanted), _stack(wanted, "-*")],
        ),
        _allow(["lambda:GetFunction", "lambda:GetFunctionConfiguration"], _functions(wanted)),
        _allow(["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], _pulled(wanted)),
    ]
    if wanted.bucket:
        may.append(_allow(["s3:GetObject"], _objects(wanted)))
    return may


def _pulled(wanted: Wanted) -> Json:
    """Its own repository; images may be those of another environment's, of which it is not said here which."""
    if wanted.repository:
        return _arn("Repository")
    return _sub("arn:${AWS::Partition}:ecr:*:*:repository/*")


def _propose(wanted: Wanted) -> list[Json]:
    may = [
        *_reading(wanted),
        _allow(["cloudformation:CreateChangeSet", "cloudformation:TagResource"], _stack(wanted)),
        _allow(["cloudformation:DeleteChangeSet"], _changing(wanted)),
        _allow(
            ["cloudformation:CreateChangeSet", "cloudformation:DeleteChangeSet"], _stack(wanted, "-*"), Condition=_VIA
        ),
        _allow(["cloudformation:CreateChangeSet"], _sub(f"{_TRANSFORMS}*")),
        _allow(["cloudformation:DetectStackDrift", "cloudformation:DescribeStackResourceDrifts"], _stack(wanted)),
        _allow(["cloudformation:DescribeStackDriftDetectionStatus", "cloudformation:DetectStackResourceDrift"], "*"),
    ]
    if wanted.service_role:
        to_it = {"StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}}
        own = _arn("ServiceRole") if wanted.service_role == MAKE else wanted.service_role
        may.append(_allow(["iam:PassRole"], own, Condition=to_it))
    if wanted.bucket:  # a template that is too large for a call goes through it
        may += _writing(wanted)
    return may


_TRANSFORMS = "arn:${AWS::Partition}:cloudformation:${AWS::Region}:aws:transform/"


_VIA = {"ForAnyValue:StringEquals": {"aws:CalledVia": ["cloudformation.amazonaws.com"]}}


def _apply(wanted: Wanted) -> list[Json]:
    rolling = ("TagResource", "ContinueUpdateRollback", "RollbackStack")
    return [
        *_reading(wanted),
        _allow(["cloudformation:ExecuteChangeSet"], _changing(wanted)),
        _allow([f"cloudformation:{each}" for each in rolling], _stack(wanted)),
        *([] if wanted.service_role else _changes(wanted, _VIA)),
    ]


def _service_role(wanted: Wanted) -> Json:
    by = {"Effect": "Allow", "Principal": {"Service": "cloudformation.amazonaws.com"}, "Action": "sts:AssumeRole"}
    pulls = _allow(["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], _pulled(wanted))
    properties: Json = {
        "RoleName": f"{wanted.name}-cloudformation",
        "Description": f"Towpath, environment {wanted.name}: what CloudFormation may do to the stack",
        "AssumeRolePolicyDocument": _policy(by),
        "Policies": [{"PolicyName": "stack", "PolicyDocument": _policy(pulls, *_changes(wanted, {}))}],
    }
    if wanted.stack_policies:
        properties["ManagedPolicyArns"] = list(wanted.stack_policies)
    return {"Type": "AWS::IAM::Role", "Properties": properties}


def _changes(wanted: Wanted, only: Json) -> list[Json]:
    """What a stack of functions, their roles, logs and APIs makes and changes, under the condition `only`."""

    def allow(actions: list[str], resources: Any, **more: Any) -> Json:
        condition = {**only, **more}
        return _allow(actions, resources, **({"Condition": condition} if condition else {}))

    role = _sub(f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/{wanted.stack}-*")
    logs = f"arn:${{AWS::Partition}}:logs:${{AWS::Region}}:${{AWS::AccountId}}:log-group:/aws/lambda/{wanted.stack}-*"
    made = ("CreateRole", "PutRolePolicy", "AttachRolePolicy", "PutRolePermissionsBoundary")
    other = ("GetRole", "GetRolePolicy", "DeleteRole", "DeleteRolePolicy", "DetachRolePolicy", "TagRole", "UntagRole", "UpdateRole", "UpdateAssumeRolePolicy")  # fmt: skip
    # No role without the boundary, so that no template makes one that may more.
    bounded = {"StringEquals": {"iam:PermissionsBoundary": wanted.boundary}} if wanted.boundary else {}
    return [
        allow(["cloudformation:*"], _stack(wanted, "-*")),
        allow(["lambda:*"], _functions(wanted)),
        allow(["lambda:*EventSourceMapping*"], "*"),
        allow([f"iam:{each}" for each in made], role, **bounded),
        allow([f"iam:{each}" for each in other], role),
        allow(["iam:PassRole"], role, StringEquals={"iam:PassedToService": "lambda.amazonaws.com"}),
        allow(["logs:*"], _sub(logs)),
        allow(["apigateway:*"], _sub("arn:${AWS::Partition}:apigateway:${AWS::Region}::/*")),
    ]


def _invoke(wanted: Wanted) -> list[Json]:
    return [
        _allow(["lambda:InvokeFunction", "lambda:GetFunction", "lambda:GetFunctionConfiguration"], _functions(wanted)),
        _allow(["cloudformation:DescribeStacks", "cloudformation:ListStackResources"], _nested(wanted)),
    ]


def _package(wanted: Wanted) -> list[Json]:
    pushing = ("BatchCheckLayerAvailability", "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "PutImage", "BatchGetImage", "GetDownloadUrlForLayer", "DescribeImages", "DescribeRepositories", "ListTagsForResource")  # fmt: skip
    may = [
        _allow(["ecr:GetAuthorizationToken"], "*"),
        _allow([f"ecr:{each}" for each in pushing], _arn("Repository")),
    ]
    return may + (_writing(wanted) if wanted.bucket else [])


def _scan(_wanted: Wanted) -> list[Json]:
    return [
        _allow(["ecr:GetAuthorizationToken"], "*"),
        _allow(["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], _arn("Repository")),
    ]


def _writing(wanted: Wanted) -> list[Json]:
    may = [
        _allow(["s3:ListBucket"], _arn("Bucket")),
        _allow(["s3:GetObject", "s3:PutObject"], _objects(wanted)),
    ]
    return may + ([_allow(["kms:GenerateDataKey", "kms:Decrypt"], _arn("Key"))] if wanted.kms else [])


def _objects(_wanted: Wanted) -> Json:
    return _sub("${Bucket.Arn}/" + f"{OWN}/*")


# What they act on


def _repository(wanted: Wanted) -> Json:
    own = _sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:root")
    others = [_sub(f"arn:${{AWS::Partition}}:iam::{each}:root") for each in wanted.pullers]
    accounts: list[Any] = [{"Ref": "AWS::AccountId"}, *wanted.pullers]
    pull = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    policy = _policy(
        {"Sid": "Accounts", "Effect": "Allow", "Principal": {"AWS": [own, *others]}, "Action": pull},
        {
            "Sid": "LambdaOfTheseAccounts",
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": pull,
            "Condition": {"StringEquals": {"aws:SourceAccount": accounts}},
        },
    )
    encryption = {"EncryptionType": "KMS", "KmsKey": _arn("Key")} if wanted.kms else {"EncryptionType": "AES256"}
    return {
        "Type": "AWS::ECR::Repository",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "RepositoryName": wanted.repository,
            "ImageTagMutability": "IMMUTABLE",
            "ImageScanningConfiguration": {"ScanOnPush": True},
            "EncryptionConfiguration": encryption,
            "RepositoryPolicyText": policy,
        },
    }


def _bucket(wanted: Wanted) -> Json:
    algorithm: Json = {"SSEAlgorithm": "AES256"}
    if wanted.kms:
        algorithm = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": _arn("Key")}
    everything = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    whole = [_arn("Bucket"), _sub("${Bucket.Arn}/*")]
    tls = {"Bool": {"aws:SecureTransport": "false"}}
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": whole, "Condition": tls}
    readers = [_sub(f"arn:${{AWS::Partition}}:iam::{each}:root") for each in wanted.pullers]
    statements = [{"Sid": "TlsOnly", **denied}]
    if readers:
        read = _allow(["s3:GetObject"], _objects(wanted), Principal={"AWS": readers})
        statements.append({"Sid": "AccountsThatDeploy", **read})
    return {
        "Bucket": {
            "Type": "AWS::S3::Bucket",
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                "BucketName": wanted.bucket,
                "VersioningConfiguration": {"Status": "Enabled"},
                "PublicAccessBlockConfiguration": dict.fromkeys(everything, True),
                "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
                "BucketEncryption": {
                    "ServerSideEncryptionConfiguration": [
                        {"ServerSideEncryptionByDefault": algorithm, "BucketKeyEnabled": wanted.kms}
                    ]
                },
            },
        },
        "BucketPolicy": {
            "Type": "AWS::S3::BucketPolicy",
            "Properties": {"Bucket": {"Ref": "Bucket"}, "PolicyDocument": _policy(*statements)},
        },
    }


def _key(wanted: Wanted) -> Json:
    own = _sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:root")
    statements = [{"Sid": "Owner", "Effect": "Allow", "Principal": {"AWS": own}, "Action": "kms:*", "Resource": "*"}]
    if wanted.pullers:
        readers = [_sub(f"arn:${{AWS::Partition}}:iam::{each}:root") for each in wanted.pullers]
        reads = {"Effect": "Allow", "Principal": {"AWS": readers}, "Action": "kms:Decrypt", "Resource": "*"}
        statements.append({"Sid": "AccountsThatPull", **reads})
    return {
        "Key": {
            "Type": "AWS::KMS::Key",
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                "Description": f"Towpath, environment {wanted.name}: images and templates",
                "EnableKeyRotation": True,
                "KeyPolicy": _policy(*statements),
            },
        }
    }


# The hook


def _hook(wanted: Wanted) -> Json:
    def by(service: str) -> Json:
        return _policy({"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"})

    logs = "arn:${AWS::Partition}:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
    alias = "".join(part.capitalize() for part in wanted.name.split("-"))
    judged: Json = {"FilteringCriteria": "ALL", "StackNames": {"Include": [wanted.stack]}}
    return {
        "HookFunctionRole": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": by("lambda.amazonaws.com"),
                "ManagedPolicyArns": [_sub(logs)],
            },
        },
        "HookFunction": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Description": "Refuses functions whose image is not pinned by digest",
                "Runtime": "python3.12",
                "Handler": "index.handler",
                "Timeout": 10,
                "Role": _arn("HookFunctionRole"),
                "Code": {"ZipFile": hook.SOURCE},
            },
        },
        "HookRole": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": by("hooks.cloudformation.amazonaws.com"),
                "Policies": [
                    {
                        "PolicyName": "invoke",
                        "PolicyDocument": _policy(_allow(["lambda:InvokeFunction"], _arn("HookFunction"))),
                    }
                ],
            },
        },
        "Hook": {
            "Type": "AWS::CloudFormation::LambdaHook",
            "Properties": {
                "Alias": f"Towpath::{alias}::PinnedImages",
                "LambdaFunction": _arn("HookFunction"),
                "ExecutionRole": _arn("HookRole"),
                "FailureMode": "FAIL",
                "HookStatus": "ENABLED",
                "TargetOperations": ["RESOURCE"],
                "TargetFilters": {
                    "TargetNames": ["AWS::Lambda::Function"],
                    "Actions": ["CREATE", "UPDATE"],
                    "InvocationPoints": ["PRE_PROVISION"],
                },
                **({"StackFilters": judged} if wanted.hook == "stack" else {}),
            },
        },
    }

"""The files and folders besides images and nested templates that have to be uploaded for a template to be deployed.

The properties are those that `sam package` uploads, https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-cli-command-reference-sam-package.html
and `aws cloudformation package`. A path is local if it is written out and is no address; what is in S3 already is left alone.
"""

from __future__ import annotations

import dataclasses
import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from stages.template.application import is_remote
from stages.template.functions import full_id
from stages.template.resolve import Unresolvable, resolve, substitute, text
from stages.template.resources import Path, Resource, Slot, find
from stages.template.tree import Mapping, Sequence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.template.application import Application, Stack
    from stages.template.tree import Node

Form: TypeAlias = Literal["s3-uri", "https-url", "bucket-key", "s3bucket-s3key", "s3bucket-s3key-version"]
"""How the template wants an upload named:

    s3-uri                  s3://bucket/key
    https-url               https://s3.<region>.amazonaws.com/bucket/key
    bucket-key              {Bucket, Key, Version}
    s3bucket-s3key          {S3Bucket, S3Key}
    s3bucket-s3key-version  {S3Bucket, S3Key, S3ObjectVersion}

A version is given only where the bucket has versions.
"""


@dataclass(frozen=True)
class Artifact:
    """Something local that a template names.

    `id` is the resource's full id, or the section for what belongs to no resource; `name` that of the property. `file` is the path from the project's
    root, without links followed; it may lead out of it (`../x`), and need not exist. `zipped`: a file is put into a zip archive
    too, unless it is one; a folder always is.
    """

    id: str
    slot: Slot
    name: str
    file: str
    form: Form
    zipped: bool = False
    node: Node | None = field(default=None, compare=False, repr=False)

    @property
    def stack(self) -> str:
        return self.slot.stack


@dataclass(frozen=True)
class _Property:
    name: str
    form: Form = "s3-uri"
    zipped: bool = False

    @property
    def path(self) -> Path:
        return tuple(self.name.split("."))


_APPSYNC = (
    _Property("RequestMappingTemplateS3Location"),
    _Property("ResponseMappingTemplateS3Location"),
    _Property("CodeS3Location"),
)
PROPERTIES: dict[str, tuple[_Property, ...]] = {
    "AWS::Serverless::Function": (_Property("CodeUri", zipped=True),),
    "AWS::Serverless::WebFunction": (_Property("CodeUri", zipped=True),),
    "AWS::Serverless::Api": (_Property("DefinitionUri"),),
    "AWS::Serverless::HttpApi": (_Property("DefinitionUri"),),
    "AWS::Serverless::StateMachine": (_Property("DefinitionUri"),),
    "AWS::Serverless::LayerVersion": (_Property("ContentUri", zipped=True),),
    "AWS::Serverless::GraphQLApi": (_Property("SchemaUri"),),
    "AWS::Lambda::Function": (_Property("Code", "s3bucket-s3key-version", zipped=True),),
    "AWS::Lambda::LayerVersion": (_Property("Content", "s3bucket-s3key-version", zipped=True),),
    "AWS::AppSync::GraphQLSchema": (_Property("DefinitionS3Location"),),
    "AWS::AppSync::Resolver": _APPSYNC,
    "AWS::AppSync::FunctionConfiguration": _APPSYNC,
    "AWS::ApiGateway::RestApi": (_Property("BodyS3Location", "bucket-key"),),
    "AWS::ApiGatewayV2::Api": (_Property("BodyS3Location", "bucket-key"),),
    "AWS::StepFunctions::StateMachine": (_Property("DefinitionS3Location", "bucket-key"),),
    "AWS::Glue::Job": (_Property("Command.ScriptLocation"),),
    "AWS::ElasticBeanstalk::ApplicationVersion": (_Property("SourceBundle", "s3bucket-s3key"),),
    "AWS::CloudFormation::ModuleVersion": (_Property("ModulePackage"),),
    "AWS::CloudFormation::ResourceVersion": (_Property("SchemaHandlerPackage"),),
    "AWS::CloudFormation::StackSet": (_Property("TemplateURL", "https-url"),),
}
_SERVERLESS_REPO = "AWS::ServerlessRepo::Application"
_INCLUDE = "AWS::Include"
_GRAPHQL = "AWS::Serverless::GraphQLApi"


def artifacts(application: Application) -> list[Artifact]:
    """Everything local that the templates of an application name, images and nested templates aside."""
    return [artifact for stack in application.stacks.values() for artifact in _of_stack(stack)]


def _of_stack(stack: Stack) -> Iterator[Artifact]:
    for resource in stack.resources:
        yield from _of_resource(stack, resource)
    sections: tuple[tuple[Path, _Property], ...] = (
        (("Globals", "Function"), _Property("CodeUri", zipped=True)),
        (("Globals", "LayerVersion"), _Property("ContentUri", zipped=True)),
        (("Metadata", _SERVERLESS_REPO), _Property("LicenseUrl")),
        (("Metadata", _SERVERLESS_REPO), _Property("ReadmeUrl")),
    )
    for path, wanted in sections:
        slot = Slot(stack.path, (*path, wanted.name))
        yield from _local(stack, str(path[0]), slot, wanted)
    if _INCLUDE in stack.template.text:
        for path in _includes(stack.template.root, ()):
            yield from _local(stack, str(path[:2][-1]), Slot(stack.path, path), _Property("Location"))


def _of_resource(stack: Stack, resource: Resource) -> Iterator[Artifact]:
    if _is_image(resource):
        return
    name, loops = full_id(stack.path, resource.id), resource.scope.loops
    properties = (*resource.path, "Properties")
    for wanted in PROPERTIES.get(resource.type, ()):
        slot = Slot(stack.path, (*properties, *wanted.path), loops)
        asset = _cdk_asset(resource, wanted.name)
        yield from (
            _local(stack, name, slot, wanted) if asset is None else (_artifact(stack, name, slot, wanted, asset),)
        )
    functions = resource.type == _GRAPHQL and find(resource.node, ("Properties", "Functions"))
    for key, _ in functions.named() if isinstance(functions, Mapping) else ():
        slot = Slot(stack.path, (*properties, "Functions", key.value, "CodeUri"), loops)
        yield from _local(stack, name, slot, _Property("CodeUri"))


def _is_image(resource: Resource) -> bool:
    node = find(resource.node, ("Properties", "PackageType"))
    try:
        return node is not None and resolve(node, resource.scope) == "Image"
    except Unresolvable:
        return False


def _cdk_asset(resource: Resource, name: str) -> Node | None:
    metadata = resource.section("Metadata")
    if metadata is None or text(metadata.get("aws:asset:property")) != name:
        return None
    return metadata.get("aws:asset:path")


def _local(stack: Stack, name: str, slot: Slot, wanted: _Property) -> Iterator[Artifact]:
    """The artifact that a slot's value names, if that is written out and is no address."""
    node = find(stack.template.root, slot.path)
    local = text(node)
    if node is not None and local and not is_remote(local):
        yield _artifact(stack, name, slot, wanted, node)


def _artifact(stack: Stack, name: str, slot: Slot, wanted: _Property, node: Node) -> Artifact:
    local = substitute(text(node) or "", dataclasses.replace(stack.scope, loops=slot.loops))
    file = posixpath.normpath(posixpath.join(posixpath.dirname(stack.template.file), local))
    return Artifact(name, slot, wanted.name, file, wanted.form, wanted.zipped, node)


def _includes(node: Node, path: Path) -> Iterator[Path]:
    """The places of `Fn::Transform: {Name: AWS::Include, Parameters: {Location: ...}}`, anywhere, in its long or short form."""
    if isinstance(node, Mapping):
        if node.tag == "!Transform":
            yield from _locations(node, path)
        for key, value in node.named():
            if key.value == "Fn::Transform":
                yield from _locations(value, (*path, key.value))
            yield from _includes(value, (*path, key.value))
    elif isinstance(node, Sequence):
        for at, item in enumerate(node.items):
            yield from _includes(item, (*path, at))


def _locations(node: Node, path: Path) -> Iterator[Path]:
    """Where an include, or each in a list of macros, says what it includes."""
    if text(find(node, ("Name",))) == _INCLUDE and find(node, ("Parameters", "Location")) is not None:
        yield (*path, "Parameters", "Location")
    if isinstance(node, Sequence):
        for at, item in enumerate(node.items):
            yield from _locations(item, (*path, at))

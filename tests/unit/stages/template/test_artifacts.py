from __future__ import annotations

import pytest

from stages.template import Artifact, artifacts, load, packaged

TEMPLATE = """\
Transform: [AWS::LanguageExtensions, AWS::Serverless-2016-10-31]
Globals: {{Function: {{CodeUri: ./global}}}}
Metadata: {{"AWS::ServerlessRepo::Application": {{LicenseUrl: LICENSE.txt, ReadmeUrl: s3://b/README}}}}
Resources:
{resources}
"""


def found(resources: str) -> list[Artifact]:
    text = TEMPLATE.format(resources=resources)
    application, problems = load(lambda _: text.encode(), "app/t.yaml")
    assert problems == []
    return [each for each in artifacts(application) if each.id not in {"Globals", "Metadata"}]


@pytest.mark.parametrize(
    ("type_", "properties", "name", "form", "zipped"),
    [
        ("AWS::Serverless::Function", "CodeUri: X", "CodeUri", "s3-uri", True),
        ("AWS::Serverless::Api", "DefinitionUri: X", "DefinitionUri", "s3-uri", False),
        ("AWS::Serverless::HttpApi", "DefinitionUri: X", "DefinitionUri", "s3-uri", False),
        ("AWS::Serverless::StateMachine", "DefinitionUri: X", "DefinitionUri", "s3-uri", False),
        ("AWS::Serverless::LayerVersion", "ContentUri: X", "ContentUri", "s3-uri", True),
        ("AWS::Serverless::GraphQLApi", "SchemaUri: X", "SchemaUri", "s3-uri", False),
        ("AWS::Serverless::GraphQLApi", "Functions: {f: {CodeUri: X}}", "CodeUri", "s3-uri", False),
        ("AWS::Lambda::Function", "Code: X", "Code", "s3bucket-s3key-version", True),
        ("AWS::Lambda::LayerVersion", "Content: X", "Content", "s3bucket-s3key-version", True),
        ("AWS::AppSync::GraphQLSchema", "DefinitionS3Location: X", "DefinitionS3Location", "s3-uri", False),
        ("AWS::AppSync::Resolver", "CodeS3Location: X", "CodeS3Location", "s3-uri", False),
        ("AWS::ApiGateway::RestApi", "BodyS3Location: X", "BodyS3Location", "bucket-key", False),
        ("AWS::ApiGatewayV2::Api", "BodyS3Location: X", "BodyS3Location", "bucket-key", False),
        ("AWS::StepFunctions::StateMachine", "DefinitionS3Location: X", "DefinitionS3Location", "bucket-key", False),
        ("AWS::Glue::Job", "Command: {ScriptLocation: X}", "Command.ScriptLocation", "s3-uri", False),
        ("AWS::ElasticBeanstalk::ApplicationVersion", "SourceBundle: X", "SourceBundle", "s3bucket-s3key", False),
        ("AWS::CloudFormation::ModuleVersion", "ModulePackage: X", "ModulePackage", "s3-uri", False),
        ("AWS::CloudFormation::ResourceVersion", "SchemaHandlerPackage: X", "SchemaHandlerPackage", "s3-uri", False),
        ("AWS::CloudFormation::StackSet", "TemplateURL: X", "TemplateURL", "https-url", False),
    ],
)
def test_what_sam_package_uploads(type_: str, properties: str, name: str, form: str, *, zipped: bool) -> None:
    resource = f"  R: {{Type: '{type_}', Properties: {{{properties.replace('X', 'src/x')}}}}}"
    (artifact,) = found(resource)
    assert (artifact.id, artifact.name, artifact.file) == ("R", name, "app/src/x")
    assert (artifact.form, artifact.zipped) == (form, zipped)
    text = TEMPLATE.format(resources=resource)
    application, _ = load(lambda _: text.encode(), "app/t.yaml")
    done = packaged(application, "", {artifact.slot: {"S3Bucket": "b", "S3Key": "k"}}).decode()
    assert done == text.replace("src/x", "{S3Bucket: b, S3Key: k}")
    assert found(resource.replace("src/x", "s3://b/k")) == []
    assert found(resource.replace("src/x", "!Ref X")) == []


def test_what_belongs_to_no_resource() -> None:
    text = TEMPLATE.format(resources="  T: {Type: AWS::SNS::Topic}")
    application, _ = load(lambda _: text.encode(), "t.yaml")
    assert [(each.id, each.slot.path, each.file) for each in artifacts(application)] == [
        ("Globals", ("Globals", "Function", "CodeUri"), "global"),
        ("Metadata", ("Metadata", "AWS::ServerlessRepo::Application", "LicenseUrl"), "LICENSE.txt"),
    ]


def test_includes_are_found_wherever_they_stand_in_either_form() -> None:
    include = "{Name: AWS::Include, Parameters: {Location: 'i.yaml'}}"
    resources = f"""\
  A: {{Type: AWS::Serverless::Api, Properties: {{DefinitionBody: {{Fn::Transform: {include}}}}}}}
  B: {{Type: AWS::SNS::Topic, Properties: {{Tags: [!Transform {include}]}}}}
  Fn::Transform: {include}
  C: {{Type: X, Fn::Transform: [{include}, {{Name: Other, Parameters: {{Location: o.yaml}}}}], Properties: {{}}}}"""
    assert [(each.id, each.slot.path) for each in found(resources)] == [
        ("A", ("Resources", "A", "Properties", "DefinitionBody", "Fn::Transform", "Parameters", "Location")),
        ("B", ("Resources", "B", "Properties", "Tags", 0, "Parameters", "Location")),
        ("Fn::Transform", ("Resources", "Fn::Transform", "Parameters", "Location")),
        ("C", ("Resources", "C", "Fn::Transform", 0, "Parameters", "Location")),
    ]


def test_an_image_function_has_no_code_to_upload() -> None:
    assert found("  A: {Type: AWS::Lambda::Function, Properties: {PackageType: Image, Code: {ImageUri: 'x:1'}}}") == []


def test_what_cdk_names_as_an_asset_of_a_property() -> None:
    (artifact,) = found(
        "  A:\n    Type: AWS::Lambda::Function\n"
        "    Properties: {Code: {S3Bucket: {Fn::Sub: 'cdk-${AWS::AccountId}'}, S3Key: x.zip}}\n"
        "    Metadata: {'aws:asset:path': asset.1, 'aws:asset:property': Code}"
    )
    assert (artifact.file, artifact.slot.path) == ("app/asset.1", ("Resources", "A", "Properties", "Code"))


def test_a_loops_items_each_have_their_own() -> None:
    loop = (
        "  Fn::ForEach::L: [N, [a, b], {'F${N}': {Type: AWS::Serverless::Function, Properties: {CodeUri: './${N}'}}}]"
    )
    first, second = found(loop)
    assert (first.id, first.file, second.id, second.file) == ("Fa", "app/a", "Fb", "app/b")
    assert first.slot.path == second.slot.path


def test_paths_out_of_the_project_are_told_as_they_are() -> None:
    (artifact,) = found("  A: {Type: AWS::Serverless::Function, Properties: {CodeUri: ../../x}}")
    assert artifact.file == "../x"

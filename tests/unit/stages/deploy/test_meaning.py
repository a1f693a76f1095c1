from __future__ import annotations

from typing import Any

import pytest

from stages.deploy import meaning
from stages.deploy.meaning import leaves, plain


def explain(changes: list[dict[str, Any]], before: Any, after: Any) -> list[str]:
    """Of templates without nested ones."""
    return meaning.explain(changes, {"": before}, {"": after})


def change(action: str, name: str, type_: str, **more: Any) -> dict[str, Any]:
    return {"action": action, "logical_id": name, "type": type_, "replacement": None, **more}


def template(**resources: Any) -> Any:
    return {"Resources": resources}


def resource(type_: str, properties: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"Type": type_, "Properties": properties or {}, **more}


TABLE = "AWS::DynamoDB::Table"


@pytest.mark.parametrize(
    ("what", "before", "after", "told"),
    [
        (
            change("Remove", "Orders", TABLE),
            {},
            None,
            "Orders (AWS::DynamoDB::Table) is deleted, with all that is in it",
        ),
        (
            change("Remove", "Orders", TABLE),
            {"DeletionPolicy": "Retain"},
            None,
            "Orders (AWS::DynamoDB::Table) leaves the stack and stays: Retain",
        ),
        (
            change("Remove", "Orders", TABLE, policy="Snapshot"),
            {},
            None,
            "Orders (AWS::DynamoDB::Table) leaves the stack and stays: Snapshot",
        ),
        (
            change("Modify", "Orders", TABLE, replacement="True"),
            {},
            {},
            "Orders (AWS::DynamoDB::Table) is replaced by a new one, which is empty; the old one is deleted, with all that is in it",
        ),
        (
            change("Modify", "Orders", TABLE, replacement="Conditional"),
            {},
            {"UpdateReplacePolicy": "Retain"},
            "Orders (AWS::DynamoDB::Table) may be replaced by a new one, which is empty; the old one stays: Retain",
        ),
        (
            change("Modify", "Fn", "AWS::Lambda::Function", replacement="True"),
            {},
            {},
            "Fn (AWS::Lambda::Function) is replaced by a new one",
        ),
    ],
)
def test_what_is_lost(what: dict[str, Any], before: Any, after: Any, told: str) -> None:
    name, type_ = what["logical_id"], what["type"]
    old = template(**{name: resource(type_, **before)})
    new = template() if after is None else template(**{name: resource(type_, **after)})
    assert explain([what], old, new) == [told]


def test_what_may_be_made_anew_and_holds_nothing_is_one_sentence() -> None:
    changes = [change("Modify", name, "AWS::ApiGateway::Stage", replacement="Conditional") for name in ("A", "B")]
    assert explain(changes, template(), template()) == ["A, B may be replaced by new ones"]
    assert explain(changes[:1], template(), template()) == ["A may be replaced by a new one"]


def test_who_may_call_a_function() -> None:
    def told(**properties: Any) -> list[str]:
        resources = template(P=resource("AWS::Lambda::Permission", {"FunctionName": {"Ref": "Fn"}, **properties}))
        return [each.partition(": ")[2] for each in explain([], None, resources)]

    assert told(Principal="*", FunctionUrlAuthType="NONE") == ["everybody may call Fn"]
    assert told(Principal="*", PrincipalOrgID="o-1") == ["everybody may call Fn for o-1"]
    assert told(Principal="s3.amazonaws.com") == ["s3.amazonaws.com may call Fn for whoever asks it to"]
    assert told(Principal="s3.amazonaws.com", SourceArn="arn:x") == ["s3.amazonaws.com may call Fn for arn:x"]


def test_what_changes_in_place_loses_nothing() -> None:
    same = template(Orders=resource(TABLE))
    assert explain([change("Modify", "Orders", TABLE, replacement="False")], same, same) == []
    assert explain([change("Add", "Orders", TABLE)], None, same) == []


def role(*statements: dict[str, Any], trusts: str = "lambda.amazonaws.com", managed: tuple[str, ...] = ()) -> Any:
    trust = {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": [trusts]}}]}
    policies = [{"PolicyName": "p", "PolicyDocument": {"Statement": list(statements)}}]
    properties = {"AssumeRolePolicyDocument": trust, "Policies": policies, "ManagedPolicyArns": list(managed)}
    return template(FnRole=resource("AWS::IAM::Role", properties))


READ = {"Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": {"Fn::GetAtt": ["Orders", "Arn"]}}


def test_rights_that_were_there_are_not_told_of() -> None:
    assert explain([], role(READ), role(READ)) == []
    assert explain([], role(READ), role({**READ, "Action": ["dynamodb:GetItem"]})) == []  # as wide, written otherwise
    assert explain([], role(READ), role()) == []


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (role(READ, {**READ, "Action": "dynamodb:*"}), "may also dynamodb:* on Orders.Arn"),
        (role(READ, {**READ, "Resource": "*"}), "may also dynamodb:GetItem on *"),
        (role(READ, {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}), "may also all but iam:* on *"),
        (role(READ, {**READ, "Action": "s3:x", "Condition": {"a": 1}}), 'may also s3:x on Orders.Arn under the condition {"a": 1}'),
        (role(READ, trusts="ec2.amazonaws.com"), "is a role for ec2.amazonaws.com"),
        (role(READ, managed=("arn:aws:iam::aws:policy/AdministratorAccess",)),
         "has the managed policy arn:aws:iam::aws:policy/AdministratorAccess"),
    ],
)  # fmt: skip
def test_rights_that_widen(after: Any, told: str) -> None:
    assert explain([], role(READ), after) == [f"FnRole (AWS::IAM::Role): {told}"]


def test_a_denial_widens_nothing_and_what_is_no_policy_is_passed_over() -> None:
    assert explain([], role(READ), role(READ, {**READ, "Effect": "Deny", "Resource": "*"})) == []
    odd = template(FnRole=resource("AWS::IAM::Role", {"Policies": ["x", {"PolicyDocument": {"Ref": "P"}}]}), X=3)
    assert explain([], odd, odd) == explain([], None, odd) == []


def test_who_may_call_and_read_from_outside() -> None:
    new = template(
        Call=resource(
            "AWS::Lambda::Permission",
            {"FunctionName": {"Ref": "Fn"}, "Principal": "s3.amazonaws.com", "SourceAccount": "1"},
        ),
        Anybody=resource(
            "AWS::S3::BucketPolicy",
            {
                "PolicyDocument": {
                    "Statement": {
                        "Effect": "Allow",
                        "Action": "s3:GetObject",
                        "Principal": "*",
                        "Resource": {"Fn::Sub": "${B}/*"},
                    }
                }
            },
        ),
    )
    assert explain([], None, new) == [
        "Anybody (AWS::S3::BucketPolicy): s3:GetObject opens to everybody, without authorization",
        "Anybody (AWS::S3::BucketPolicy): lets others also s3:GetObject on ${B}/* for everybody",
        "Call (AWS::Lambda::Permission): s3.amazonaws.com may call Fn for 1",
    ]


def api(security: Any = None, everywhere: Any = None) -> Any:
    operation = {"responses": {}} if security is None else {"responses": {}, "security": security}
    body: dict[str, Any] = {"paths": {"/hello": {"get": operation, "options": {}, "parameters": []}}}
    if everywhere is not None:
        body["security"] = everywhere
    return template(Api=resource("AWS::ApiGateway::RestApi", {"Body": body}))


def test_endpoints_that_open() -> None:
    told = "Api (AWS::ApiGateway::RestApi): GET /hello opens to everybody, without authorization"
    assert explain([], None, api()) == [told]
    assert explain([], api([{"key": []}]), api([])) == [told]
    assert explain([], api([{"key": []}]), api([{"key": []}, {}])) == [told]
    assert explain([], api(), api()) == []
    assert explain([], None, api([{"key": []}])) == explain([], None, api(everywhere=[{"key": []}])) == []


@pytest.mark.parametrize(
    ("type_", "properties", "told"),
    [
        ("AWS::Lambda::Url", {"AuthType": "NONE"}, "the function's address"),
        ("AWS::ApiGatewayV2::Route", {"RouteKey": "GET /x"}, "GET /x"),
        ("AWS::ApiGateway::Method", {"HttpMethod": "ANY", "ResourceId": {"Ref": "R"}}, "ANY on R"),
    ],
)
def test_addresses_that_open(type_: str, properties: dict[str, Any], told: str) -> None:
    new = template(X=resource(type_, properties))
    assert explain([], None, new) == [f"X ({type_}): {told} opens to everybody, without authorization"]
    closed = {**properties, "AuthType": "AWS_IAM", "AuthorizationType": "AWS_IAM"}
    assert explain([], None, template(X=resource(type_, closed))) == []


def test_a_template_in_yaml_is_read_as_cloudformation_means_it() -> None:
    text = """\
Resources:
  B: {Type: AWS::S3::Bucket, Properties: {BucketName: !Sub '${AWS::StackName}-b', Tags: [!Ref T, !GetAtt X.Arn]}}
Conditions: {C: !Condition Other}
"""
    assert plain(text) == {
        "Resources": {
            "B": {
                "Type": "AWS::S3::Bucket",
                "Properties": {
                    "BucketName": {"Fn::Sub": "${AWS::StackName}-b"},
                    "Tags": [{"Ref": "T"}, {"Fn::GetAtt": "X.Arn"}],
                },
            }
        },
        "Conditions": {"C": {"Condition": "Other"}},
    }
    assert plain(None) is None
    assert plain({"Resources": {}}) == {"Resources": {}}


@pytest.mark.parametrize(
    ("type_", "properties", "told"),
    [
        (
            "AWS::S3::Bucket",
            {"AccessControl": "PublicRead"},
            "the bucket opens to everybody, without authorization: PublicRead",
        ),
        (
            "AWS::S3::Bucket",
            {"PublicAccessBlockConfiguration": {"BlockPublicPolicy": "false", "BlockPublicAcls": True}},
            "the bucket may be opened to everybody: BlockPublicPolicy is off",
        ),
        ("AWS::ApiGatewayV2::Api", {"Target": "arn:x"}, "every path opens to everybody, without authorization"),
        (
            "AWS::EC2::SecurityGroup",
            {"SecurityGroupIngress": [{"CidrIp": "0.0.0.0/0", "FromPort": 22}]},
            "port 22 open to everybody",
        ),
        (
            "AWS::SQS::QueuePolicy",
            {"PolicyDocument": {"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sqs:*"}]}},
            "sqs:* opens to everybody, without authorization",
        ),
    ],
)
def test_what_else_opens(type_: str, properties: dict[str, Any], told: str) -> None:
    assert f"X ({type_}): {told}" in explain([], template(X=resource(type_)), template(X=resource(type_, properties)))
    assert explain([], template(X=resource(type_, properties)), template(X=resource(type_, properties))) == []


def test_a_condition_keeps_others_out() -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "sns:Publish", "Resource": "t", "Condition": {"a": "b"}}
    policy = template(X=resource("AWS::SNS::TopicPolicy", {"PolicyDocument": {"Statement": [statement]}}))
    told = 'X (AWS::SNS::TopicPolicy): lets others also sns:Publish on t for everybody under the condition {"a": "b"}'
    assert explain([], None, policy) == [told]
    other = template(
        X=resource("AWS::SNS::TopicPolicy", {"PolicyDocument": {"Statement": [statement | {"Condition": {"a": "*"}}]}})
    )
    assert len(explain([], policy, other)) == 1  # a condition that lets in more is a right that was not there


def test_a_denial_that_goes_is_a_right_that_may_come() -> None:
    denial = {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}
    assert explain([], role(READ, denial), role(READ)) == ["FnRole (AWS::IAM::Role): no longer denies s3:* on *"]
    assert explain([], role(READ, denial), template()) == []  # nobody has the role any more
    alone = template(P=resource("AWS::IAM::Policy", {"PolicyDocument": {"Statement": [denial]}}))
    assert explain([], alone, template()) == ["P (AWS::IAM::Policy): no longer denies s3:* on *"]


def test_a_permissions_boundary_that_goes() -> None:
    bound, other = (template(R=resource("AWS::IAM::Role", {"PermissionsBoundary": each})) for each in ("a", "b"))
    assert explain([], bound, template(R=resource("AWS::IAM::Role"))) == [
        "R (AWS::IAM::Role): loses its permissions boundary a"
    ]
    assert explain([], bound, other) == ["R (AWS::IAM::Role): has the permissions boundary b instead of a"]
    assert explain([], bound, bound) == explain([], None, bound) == []


def test_rights_that_differ_in_one_thing_are_one_sentence_and_wide_ones_come_first() -> None:
    read = {"Effect": "Allow", "Action": ["s3:Get", "s3:List"], "Resource": ["a", "b"]}
    more = role(read, {**read, "Action": "s3:Put", "Resource": "a"}, {**read, "Action": "sns:Publish", "Resource": "*"})
    assert explain([], role(), more) == [
        "FnRole (AWS::IAM::Role): may also sns:Publish on *",
        "FnRole (AWS::IAM::Role): may also s3:Get, s3:List on b",
        "FnRole (AWS::IAM::Role): may also s3:Get, s3:List, s3:Put on a",
    ]
    assert explain([], role(), role(read)) == ["FnRole (AWS::IAM::Role): may also s3:Get, s3:List on a, b"]


def test_no_kind_of_sentence_pushes_another_out_of_sight() -> None:
    """Else whoever gives many rights hides what opens."""
    many = role(*({"Effect": "Allow", "Action": f"s3:{at}", "Resource": f"r{at}"} for at in range(200)))
    many["Resources"]["Url"] = resource("AWS::Lambda::Url", {"AuthType": "NONE"})
    gone = [change("Remove", f"R{at}", TABLE) for at in range(150)]
    told = explain(gone, None, many)
    assert told[99:103] == [
        "R99 (AWS::DynamoDB::Table) is deleted, with all that is in it",
        "and 50 more that are deleted or replaced",
        "Url (AWS::Lambda::Url): the function's address opens to everybody, without authorization",
        "FnRole (AWS::IAM::Role): is a role for lambda.amazonaws.com",
    ]
    assert told[-1] == "and 101 more rights"


def test_users_and_groups_have_rights_too() -> None:
    policy = {"PolicyName": "p", "PolicyDocument": {"Statement": [READ]}}
    user = template(U=resource("AWS::IAM::User", {"Policies": [policy], "Groups": [{"Ref": "Admins"}]}))
    told = ["U (AWS::IAM::User): is in the group Admins", "U (AWS::IAM::User): may also dynamodb:GetItem on Orders.Arn"]
    assert explain([], None, user) == told
    attached = template(P=resource("AWS::IAM::ManagedPolicy", {"PolicyDocument": {}, "Roles": ["a"]}))
    wider = template(P=resource("AWS::IAM::ManagedPolicy", {"PolicyDocument": {}, "Roles": ["a", "b"]}))
    assert explain([], attached, wider) == ["P (AWS::IAM::ManagedPolicy): belongs to b"]


def test_a_function_that_runs_as_another_role() -> None:
    one, other = (template(Fn=resource("AWS::Lambda::Function", {"Role": each})) for each in ("a", "admin"))
    assert explain([], one, other) == ["Fn (AWS::Lambda::Function): runs as admin instead of a"]
    assert explain([], one, one) == explain([], None, one) == []


def test_where_within_a_property() -> None:
    old, new = resource("T", {"Code": {"ImageUri": "a"}}), resource("T", {"Code": {"ImageUri": "b"}})
    assert leaves("Code", old, new) == ["Code.ImageUri"]
    assert leaves("Code", old, old) == ["Code"]  # a parameter in it changes, and the template is the same
    assert leaves("Code", None, new) == ["Code"]
    called = resource("T", {"Code": {"Ref": "A"}}), resource("T", {"Code": {"Ref": "B"}})
    assert leaves("Code", *called) == ["Code"]
    many = resource("T", {"Code": dict.fromkeys("abcdef", 1)}), resource("T", {"Code": {}})
    assert leaves("Code", *many) == ["Code"]


# Nested stacks

STACK = "AWS::CloudFormation::Stack"
PUBLIC = resource("AWS::Lambda::Url", {"AuthType": "NONE"})


def test_rights_and_endpoints_of_nested_stacks_are_told_with_their_path() -> None:
    changes = [
        change("Modify", "Child", STACK, replacement="False", nested=True),
        change("Remove", "Child/Orders", TABLE),
    ]
    before = {"": template(), "Child": template(Orders=resource(TABLE))}
    assert meaning.explain(changes, before, {"": template(), "Child": template(Address=PUBLIC)}) == [
        "Child/Orders (AWS::DynamoDB::Table) is deleted, with all that is in it",
        "Child/Address (AWS::Lambda::Url): the function's address opens to everybody, without authorization",
    ]


def test_without_a_change_set_of_its_own_a_nested_stack_is_told_by_its_templates() -> None:
    changes = [change("Modify", "Child", STACK, replacement="False", nested=False)]
    fn = {each: resource("AWS::Lambda::Function", {"Code": {"ImageUri": each}}) for each in "ab"}
    before = {"": template(), "Child": template(Fn=fn["a"], Orders=resource(TABLE), Same=resource(TABLE))}
    after = {"": template(), "Child": template(Fn=fn["b"], New=resource(TABLE), Same=resource(TABLE))}
    assert meaning.explain(changes, before, after) == [
        "Child/Orders (AWS::DynamoDB::Table) is deleted, with all that is in it",
        "Child/Fn (AWS::Lambda::Function) changes, by its template: Code.ImageUri",
        "Child/New (AWS::DynamoDB::Table) is added, by its template",
    ]


def test_a_nested_stack_whose_template_is_not_known_is_told_as_that() -> None:
    changes = [change("Modify", "Child", STACK, replacement="False", nested=False)]
    told = ["Child (AWS::CloudFormation::Stack): what it changes is not known before it is done"]
    assert meaning.explain(changes, {"Child": template(T=resource(TABLE))}, {}) == told


def test_what_goes_with_a_nested_stack() -> None:
    before = {
        "": template(Child=resource(STACK)),
        "Child": template(Orders=resource(TABLE)),
        "Child/In": template(Q=resource(TABLE)),
    }
    gone = [change("Remove", "Child", STACK)]
    assert meaning.explain(gone, before, {"": template()}) == [
        "Child (AWS::CloudFormation::Stack) is deleted, with all that is in it",
        "Child/In/Q (AWS::DynamoDB::Table) is deleted, with all that is in it",
        "Child/Orders (AWS::DynamoDB::Table) is deleted, with all that is in it",
    ]
    before[""] = template(Child=resource(STACK, DeletionPolicy="Retain"))
    assert meaning.explain(gone, before, {"": template()}) == [
        "Child (AWS::CloudFormation::Stack) leaves the stack and stays: Retain"
    ]

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from stages.aws import validation

AT = datetime(2026, 11, 26, 2, tzinfo=UTC)
TAKEN: dict[str, Any] = {
    "EventType": "VALIDATION_ERROR",
    "LogicalResourceId": "Files",
    "ResourceType": "AWS::S3::Bucket",
    "Timestamp": AT,
    "ValidationFailureMode": "FAIL",
    "ValidationName": "NAME_CONFLICT_VALIDATION",
    "ValidationStatusReason": "'files' already exists.",
    "ValidationPath": "/Resources/Files",
}
FAILED = {"EventType": "STACK_EVENT", "LogicalResourceId": "demo", "Timestamp": AT}


def test_each_error_is_told_once_with_its_resource_and_where_in_it() -> None:
    deeper = {**TAKEN, "ValidationPath": "/Resources/Files/Properties/BucketName"}
    assert validation.told([FAILED, TAKEN, deeper, TAKEN]) == [
        "Files (AWS::S3::Bucket) NAME_CONFLICT_VALIDATION: 'files' already exists.",
        "Files (AWS::S3::Bucket) NAME_CONFLICT_VALIDATION: 'files' already exists. (/Resources/Files/Properties/BucketName)",
    ]


def test_warnings_and_errors_of_operations_before_are_left_out() -> None:
    warning = {**TAKEN, "ValidationFailureMode": "WARN"}
    assert validation.told([TAKEN, warning], since=AT + timedelta(seconds=1)) == []


class Client:
    """What of CloudFormation is asked here."""

    def __init__(self, events: list[dict[str, Any]] | None) -> None:
        self.events, self.asked = events, 0

    def describe_events(self, **_: Any) -> Any:
        from botocore.exceptions import ClientError

        self.asked += 1
        if self.events is None:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "DescribeEvents")
        return {"OperationEvents": self.events}


POINTER = (
    "demo (AWS::CloudFormation::Stack) CREATE_FAILED: Validation failed with 1 error(s). Call DescribeEvents to ..."
)


def explained(client: Client, *reasons: str) -> list[str]:
    return validation.explain(client, reasons, StackName="demo")  # type: ignore[arg-type]  # no more of it is asked


def test_a_reason_that_only_points_to_the_errors_gives_way_to_them() -> None:
    assert explained(Client([TAKEN]), POINTER) == validation.told([TAKEN])


def test_where_they_cannot_be_had_the_reason_stays() -> None:
    assert explained(Client([]), POINTER) == [POINTER]
    assert explained(Client(None), POINTER) == [POINTER]


def test_other_reasons_need_no_call() -> None:
    client = Client([TAKEN])
    assert explained(client, "Fn: no such image") == ["Fn: no such image"]
    assert client.asked == 0

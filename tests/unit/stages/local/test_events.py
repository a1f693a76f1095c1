"""Events of AWS's services: each can be made, and its options are where they belong."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re

import pytest

from stages.contract import StageError
from stages.local import events

KINDS = {f"{each.source} {each.type}": each for each in events.kinds()}


@pytest.mark.parametrize("name", KINDS)
def test_every_option_of_every_event_is_used(name: str) -> None:
    kind = KINDS[name]
    plain = json.dumps(events.make(kind.source, kind.type, {}))
    assert not re.search(r"\$\{[a-z-]+[}|]", plain)
    for option, default in kind.options.items():
        given = "77" if isinstance(default, int) else '{"own": 1}' if option == "detail" else "own"
        assert json.dumps(events.make(kind.source, kind.type, {option: given})) != plain, option


def test_there_are_those_that_people_ask_for() -> None:
    wanted = {
        *("s3 put", "s3 delete", "sqs receive-message", "sns notification", "dynamodb update", "kinesis get-records"),
        *("apigateway aws-proxy", "apigateway http-api-proxy", "cloudwatch scheduled-event", "cloudwatch logs"),
        *("eventbridge event", "cognito pre-sign-up", "ses email-receiving", "alexa-skills-kit intent", "lambda url"),
    }
    assert wanted <= set(KINDS)


def test_an_objects_key_is_encoded_as_s3_does_it() -> None:
    [record] = events.make("s3", "put", {"bucket": "photos", "key": "a b/ü.jpg", "size": "7"})["Records"]
    assert record["s3"]["object"]["key"] == "a+b/%C3%BC.jpg"
    assert record["s3"]["object"]["size"] == 7
    assert record["s3"]["bucket"]["arn"] == "arn:aws:s3:::photos"


def test_options_are_known_by_sams_names_too() -> None:
    [record] = events.make("sqs", "receive-message", {"account-id": "111122223333", "queue-name": "jobs"})["Records"]
    assert record["eventSourceARN"].endswith(":111122223333:jobs")


def test_what_services_encode_is_encoded() -> None:
    [message] = events.make("sqs", "receive-message", {"body": "hi"})["Records"]
    assert message["md5OfBody"] == hashlib.md5(b"hi", usedforsecurity=False).hexdigest()
    [record] = events.make("kinesis", "get-records", {"data": "hi"})["Records"]
    assert base64.b64decode(record["kinesis"]["data"]) == b"hi"
    data = events.make("cloudwatch", "logs", {"message": "hi"})["awslogs"]["data"]
    assert json.loads(gzip.decompress(base64.b64decode(data)))["logEvents"][0]["message"] == "hi"
    assert events.make("eventbridge", "event", {"detail": '{"a": [1]}'})["detail"] == {"a": [1]}


@pytest.mark.parametrize(
    ("source", "type_", "options", "message", "hint"),
    [
        ("s33", "put", {}, "there is no source 's33' of events", "Did you mean s3?"),
        ("s3", "puts", {}, "s3 has no event 'puts'", "Did you mean put?"),
        ("s3", "put", {"buket": "x"}, "s3 put has no option --buket", "Did you mean bucket?"),
        ("s3", "put", {"size": "big"}, "--size 'big' is no whole number", None),
        ("eventbridge", "event", {"detail": "{"}, "is no JSON", None),
        ("../events", "s3", {}, "there is no source", None),
    ],
)
def test_mistakes(source: str, type_: str, options: dict[str, str], message: str, hint: str | None) -> None:
    with pytest.raises(StageError, match=re.escape(message)) as error:
        events.make(source, type_, options)
    assert hint is None or error.value.hint == hint

from __future__ import annotations

import pytest

from pipeline.errors import UsageError
from pipeline.record.store import StoreError
from pipeline.record.store.s3_place import Lock, Place, Settings


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("s3://records", Place("records")),
        ("s3://records/", Place("records")),
        ("s3://records/a/b.c/", Place("records", "a/b.c")),
        ("s3://my.records/x?kms-key=alias/key", Place("my.records", "x", "alias/key")),
        (
            "s3://records/x?lock=compliance:400d&kms-key=arn:aws:kms:eu-west-1:111122223333:key/1",
            Place("records", "x", "arn:aws:kms:eu-west-1:111122223333:key/1", Lock("compliance", 400)),
        ),
    ],
)
def test_a_location_says_where_and_how(location: str, place: Place) -> None:
    assert Place.parse(location) == place
    assert Place.parse(str(place)) == Place(place.bucket, place.prefix)


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("s3://", "no bucket's name"),
        ("s3:///prefix", "no bucket's name"),
        ("s3://Records/x", "no bucket's name"),
        ("s3://user@records/x", "no bucket's name"),
        ("s3://records:80/x", "no bucket's name"),
        ("s3://records/a b", "cannot be the prefix"),
        ("s3://records/a//b", "cannot be the prefix"),
        ("s3://records/a/../b", "cannot be the prefix"),
        ("s3://records/a#b", "cannot be the prefix"),
        ("s3://records/a?kms=x", "'kms' is not understood"),
        ("s3://records/a?kms-key", "'kms-key' is not understood"),
        ("s3://records/a?kms-key=", "'kms-key' is not understood"),
        ("s3://records/a?lock=400d", "lock=400d is no retention"),
        ("s3://records/a?lock=governance:0d", "is no retention"),
        ("s3://records/a?lock=governance:4y", "is no retention"),
    ],
)
def test_a_location_that_means_nothing_is_told_with_its_form(location: str, told: str) -> None:
    with pytest.raises(UsageError, match="s3://") as caught:
        Place.parse(location)
    assert told in caught.value.message
    assert caught.value.hint


def test_settings_have_one_form() -> None:
    settings = Settings.of(Place("records", "shop", "alias/key", Lock("governance", 30)))
    data = settings.encode()
    assert data == (
        b'{"bucket":"records","conditional_writes":true,"kms_key":"alias/key","lock":"governance:30d","prefix":"shop","v":1}\n'
    )
    assert Settings.decode(data, "x") == settings
    for other in (
        b"",
        b"[]",
        b"{}",
        data.replace(b"governance:30d", b"for ever"),
        data.replace(b":1}", b":2}"),
        data[:-1],
    ):
        with pytest.raises(StoreError, match="x does not say what holds"):
            Settings.decode(other, "x")


def test_another_place_has_other_settings() -> None:
    keys = {Place(*each).settings_key for each in (("records", "a"), ("records", "b"), ("other", "a"), ("records", ""))}
    assert len(keys) == 4

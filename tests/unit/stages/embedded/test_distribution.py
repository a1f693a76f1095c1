from __future__ import annotations

import json
from pathlib import Path

from stages.embedded.distribution import configuration


def test_the_registry_listens_on_loopback_and_keeps_its_data_at_home() -> None:
    made = json.loads(configuration(Path("/srv/aws"), "127.0.0.1:5005"))
    assert made["http"]["addr"] == "127.0.0.1:5005"
    assert made["storage"]["filesystem"]["rootdirectory"] == "/srv/aws/registry"
    again = json.loads(configuration(Path("/srv/aws"), "127.0.0.1:5005"))
    assert made["http"]["secret"] != again["http"]["secret"]

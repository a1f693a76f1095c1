from __future__ import annotations

from stages.build import settings
from stages.contract import Request


def test_secrets_are_taken_from_variables_and_only_their_names_decide_what_is_built() -> None:
    request = Request("build", "apply", "h", {"ssh": ["default"], "cache-from": ["x"]}, secrets=["npm-rc", "TOKEN"])
    read = settings.read(request)
    assert read.flags == (
        "--secret=id=TOKEN,env=TOWPATH_SECRET_TOKEN",
        "--secret=id=npm-rc,env=TOWPATH_SECRET_npm-rc",
        "--ssh=default",
        "--cache-from=x",
    )
    assert read.deciding == ("secret TOKEN", "secret npm-rc", "ssh default")

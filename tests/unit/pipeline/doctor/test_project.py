"""What a project names is tried: real servers answer here, as AWS's and a registry would."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from support.machine import Machine, free_port

from pipeline import definition, doctor
from pipeline.doctor import Check, Finding, project
from pipeline.record.store import directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PIPELINE = """\
version: 1
name: shop
parameters:
  base-image: {type: string, default: "BASE/lambda/python:3.13"}
environments:
  here: {aws: embedded, account: "111111111111", region: eu-west-1, stack: shop, approvals: none}
  live: {account: "222222222222", region: eu-west-1, stack: shop, repository: "HOST/shop", approvals: none}
  unused: {account: "333333333333", region: eu-west-1, stack: shop, approvals: none, auth: {profile: none-such}}
stages:
  build: {uses: build, with: {template: t.yaml, build-args: {BASE: "${{ parameters.base-image }}"}}}
  package: {uses: package, needs: [build], environment: live}
  deploy-here: {uses: deploy, needs: [package], environment: here}
  deploy: {uses: deploy, needs: [package], environment: live}
  after: {uses: command, needs: [deploy], environment: unused, with: {run: ["true"]}}
"""
IDENTITY = """\
<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::ACCOUNT:user/ada</Arn><UserId>A</UserId><Account>ACCOUNT</Account>
</GetCallerIdentityResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"""


@contextmanager
def server(status: int, body: str = "", date: float | None = None) -> Iterator[int]:
    """Answer everything alike; give the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status)
            self.send_header("Date", formatdate(time.time() if date is None else date, usegmt=True))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True, kwargs={"poll_interval": 0.02}).start()
        yield listening.server_port
        listening.shutdown()


def found(folder: Path) -> dict[str, Finding]:
    wanted = project.checks(folder / "pipeline.yaml", lambda: directory.open_store(folder / "store", create=False))
    return {each.what: each for each in doctor.examine([each for each in wanted if "clock" not in each.what])}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project whose registries are on this machine, with credentials of the account that AWS says."""
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    with server(401) as registry:
        text = PIPELINE.replace("HOST", f"localhost:{registry}").replace("BASE/", f"127.0.0.1:{registry}/")
        (tmp_path / "pipeline.yaml").write_text(text)
        yield tmp_path


def test_everything_that_is_named_is_tried(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(200, IDENTITY.replace("ACCOUNT", "222222222222")) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{sts}")
        looked = found(shop)
    assert looked.pop("store").state == "note"
    assert {each.state for each in looked.values()} == {"good"}
    assert len(looked) == 4
    assert "embedded" in looked["AWS identity, here"].found
    assert looked["AWS identity, live"].found == "arn:aws:iam::222222222222:user/ada, eu-west-1"


def test_another_account_is_bad(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(200, IDENTITY.replace("ACCOUNT", "999999999999")) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{sts}")
        identity = found(shop)["AWS identity, live"]
    assert identity.state == "bad"
    assert "999999999999" in identity.found
    assert identity.repair


def test_who_cannot_sign_in_is_told_what_to_do(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shop / "pipeline.yaml"
    file.write_text(file.read_text().replace('repository: "', 'auth: {profile: none-such}, repository: "'))
    identity = found(shop)["AWS identity, live"]
    assert identity.state == "bad"
    assert "none-such" in identity.found
    assert identity.repair


ROLES = (
    "{apply: arn:aws:iam::222222222222:role/a, propose: arn:aws:iam::222222222222:role/p, "
    "package: arn:aws:iam::222222222222:role/a}"
)


def test_an_environment_of_a_ci_system_is_tried_by_its_jobs_alone(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shop / "pipeline.yaml"
    file.write_text(
        file.read_text().replace('repository: "', f'auth: {{method: github-oidc, roles: {ROLES}}}, repository: "')
    )
    identity = found(shop)["AWS identity, live"]
    assert (identity.state, identity.repair) == ("note", None)
    assert "jobs of GitHub Actions sign in" in identity.found
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    tried = [each for what, each in found(shop).items() if what.startswith("AWS identity, live, ")]
    assert [each.state for each in tried] == ["bad", "bad"]  # one for each role
    assert all("ACTIONS_ID_TOKEN_REQUEST_URL" in each.found for each in tried)


def test_a_registry_that_is_pushed_to_must_answer_and_one_that_is_pulled_from_need_not(shop: Path) -> None:
    port = free_port()
    assert [each.state for each in project._registry(f"localhost:{port}", needed=True)] == ["bad"]
    assert [each.state for each in project._registry(f"localhost:{port}", needed=False)] == ["note"]
    with server(404) as other:
        [finding] = project._registry(f"localhost:{other}", needed=False)
        assert (finding.state, "404" in finding.found) == ("bad", True)


def test_ecr_is_named_by_its_account_and_region(tmp_path: Path) -> None:
    text = PIPELINE.replace("HOST/shop", "shop").replace("BASE/", "public.ecr.aws/")
    (tmp_path / "pipeline.yaml").write_text(text)
    loaded = definition.load(tmp_path / "pipeline.yaml", tmp_path)
    assert project._pushed(loaded, ["live"]) == {"222222222222.dkr.ecr.eu-west-1.amazonaws.com"}
    assert project._pushed(loaded, []) == set()
    assert project._pulled(loaded) == {"public.ecr.aws"}


@pytest.mark.parametrize(("off", "state"), [(0, "good"), (-400, "bad"), (400, "bad")])
def test_a_clock_that_is_off_is_told_before_aws_refuses(off: float, state: str) -> None:
    with server(302, date=time.time() + off) as sts:
        [finding] = project._skew(f"http://127.0.0.1:{sts}/")
    assert finding.state == state
    assert project._skew(f"http://127.0.0.1:{free_port()}/")[0].state == "note"


def test_a_definition_with_mistakes_is_bad_and_the_rest_is_looked_at(shop: Path) -> None:
    (shop / "pipeline.yaml").write_text("version: 1\nname: Shop\nstages: {}\n")
    looked = found(shop)
    assert looked["definition"].state == "bad"
    assert "towpath validate" in (looked["definition"].repair or "")
    assert set(looked) == {"store", "definition"}


def test_isolation_that_is_required_must_be_had(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shop / "pipeline.yaml"
    file.write_text(file.read_text().replace("environments:\n", "isolation: required\nenvironments:\n", 1))
    monkeypatch.setenv("TOWPATH_ISOLATION", "none")
    required = found(shop)["isolation that the definition requires"]
    assert required.state == "bad"
    assert required.repair


def test_a_store_is_counted_and_one_that_is_none_is_told(tmp_path: Path) -> None:
    directory.open_store(tmp_path / "store", create=True)
    assert found(tmp_path)["store"].found.endswith("store, 0 runs")
    (tmp_path / "store" / "store.json").write_text("{}")
    (tmp_path / "store" / "format.json").write_text("{}")
    for each in (tmp_path / "store").iterdir():
        if each.is_file():
            each.write_text("{}")
    assert found(tmp_path)["store"].state == "bad"


# All of it


def test_findings_come_in_the_order_of_the_checks_and_nobody_waits_for_ever() -> None:
    gate = threading.Event()

    def slow() -> list[Finding]:
        gate.wait(20)
        return []

    def broken() -> list[Finding]:
        raise RuntimeError("ours")

    def fast(what: str) -> list[Finding]:
        return [Finding(what, "good", "x")]

    checks = [Check("slow", slow), Check("a", lambda: fast("a")), Check("b", lambda: fast("b"))]
    assert [(each.what, each.state) for each in doctor.examine(checks, 0.2)] == [
        ("slow", "bad"),
        ("a", "good"),
        ("b", "good"),
    ]
    gate.set()
    with pytest.raises(RuntimeError, match="ours"):
        list(doctor.examine([Check("broken", broken)]))


def test_the_command_fails_if_anything_is_bad(tmp_path: Path) -> None:
    machine = Machine(tmp_path, {"DOCKER_HOST": "tcp://127.0.0.1:1"})
    told = json.loads(machine.towpath("doctor", "--json", code=1).stdout)
    states = {each["what"]: each["state"] for each in told}
    assert states["Docker Engine"] == "bad"
    assert {"isolation of stages", "credential helper", "clock", "disk", "runner's key", "store"} <= set(states)
    assert "no such folder" in machine.towpath("doctor", "--project", "nowhere", code=2).stderr
    said = machine.towpath("doctor", code=1).stdout
    assert "bad  Docker Engine: none answers at tcp://127.0.0.1:1\n     unset DOCKER_HOST" in said

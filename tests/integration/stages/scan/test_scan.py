"""Real images of the engine, by every carrier; a release from a real registry; a database made by rpm itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from integration.stages.build.projects import copy_program
from integration.stages.deploy.running import embedded_aws, new_account
from integration.stages.images.running import running_registry
from integration.stages.scan.conftest import advisory
from support.layers import debian, dpkg

from stages import package, scan
from stages.bom import layers, rpmdb
from stages.contract import Access, InvalidInput, Request, StageError, Target
from stages.images import engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from integration.stages.scan.conftest import Scanner

pytestmark = pytest.mark.engine

STATUS = "var/lib/dpkg/status"
BASE = debian(("openssl", "3.0.1-1"), ("tar", "1.34"))
OPENSSL = advisory("DSA-1", "Debian:12", "openssl", "3.0.2-1")
TAR = advisory("DSA-2", "Debian:12", "tar", None, "LOW")
PYPI = advisory("PYSEC-1", "PyPI", "requests", "2.31.0")
NPM = advisory("GHSA-1", "npm", "lodash", "4.17.21")
METADATA = {"app/requests-2.0.dist-info/METADATA": b"Name: requests\nVersion: 2.0\n"}
LODASH = {"app/node_modules/lodash/package.json": b'{"name": "lodash", "version": "4.17.20"}'}


def verdicts(result: Any) -> dict[str, str]:
    images = result.facts["scan"]["images"].values()
    return {name: each["verdict"] for each in images for name in each["functions"]}


def findings(scanner: Scanner) -> set[str]:
    return {each["id"] for some in scanner.output("findings.json")["images"].values() for each in some}


@pytest.mark.parametrize("carrier", ["engine", "oci-layout"])
def test_what_is_planted_is_found_and_what_is_fixed_is_not(scanner: Scanner, carrier: str) -> None:
    bad = scanner.build({**BASE, **METADATA, **LODASH})
    good = scanner.build(debian(("openssl", "3.0.2-1"), ("tar", "1.34")))
    scanner.hand_over({"Bad": bad, "Good": good}, carrier)
    scanner.advise(OPENSSL, TAR, PYPI, NPM, advisory("DSA-3", "Debian:11", "tar", None))
    result = scanner.scan()
    assert verdicts(result) == {"Bad": "FAIL", "Good": "PASS"}
    assert findings(scanner) == {"DSA-1", "DSA-2", "PYSEC-1", "GHSA-1"}
    assert result.outcome == "failed"
    assert result.failure is not None
    assert "Bad: 3 findings of HIGH or worse" in result.failure.message
    assert "HIGH DSA-1 in openssl 3.0.1-1: fixed in 3.0.2-1" in result.failure.message
    assert "Good" not in result.failure.message
    assert [each["predicate"]["verdict"] for each in result.statements] == ["FAIL", "PASS"]
    for name in ("Bad", "Good"):
        text = (scanner.work / f"outputs/scan/sbom/{name}.cdx.json").read_text()
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_carriers_make_no_difference(scanner: Scanner) -> None:
    """The same image gives the same bytes, however it came."""
    image = scanner.build({**BASE, **METADATA})
    scanner.advise(OPENSSL, PYPI)
    written = []
    for carrier in ("engine", "oci-layout"):
        scanner.hand_over({"F": image, "G": image}, carrier)
        scanner.scan()
        folder = scanner.work / "outputs/scan"
        written.append({path.name: path.read_bytes() for path in folder.rglob("*.json")})
    assert written[0] == written[1]
    assert len(written[0]) == 4


def test_thresholds(scanner: Scanner) -> None:
    scanner.hand_over({"F": scanner.build(BASE)})
    scanner.advise(OPENSSL, TAR)
    assert verdicts(scanner.scan(fail_on="HIGH")) == {"F": "FAIL"}
    passed = scanner.scan(fail_on="CRITICAL")
    assert (passed.outcome, passed.outputs, verdicts(passed)) == ("succeeded", ["scan"], {"F": "PASS"})
    assert passed.facts["scan"]["policy"] == {"fail_on": "CRITICAL", "on_incomplete": "fail"}
    (image,) = passed.facts["scan"]["images"].values()
    assert image["counts"] == {"LOW": 1, "MEDIUM": 0, "HIGH": 1, "CRITICAL": 0, "UNKNOWN": 0}


def test_the_engines_own_whiteouts(scanner: Scanner, tmp_path: Path) -> None:
    """A layer that removes and one that replaces, as the engine itself writes them."""
    for program in ("/bin/rm", "/bin/cp"):
        copy_program(program, tmp_path / "root")
    programs = {path.relative_to(tmp_path / "root").as_posix(): path for path in (tmp_path / "root").rglob("*")}
    files = {name: path.read_bytes() for name, path in programs.items() if path.is_file()}
    image = scanner.build(
        {**BASE, **METADATA, **files, "new/status": dpkg(("openssl", "3.0.2-1"))},
        "RUN ['/bin/cp', '/new/status', '/var/lib/dpkg/status']".replace("'", '"'),
        "RUN ['/bin/rm', '-r', '/app']".replace("'", '"'),
    )
    scanner.hand_over({"F": image})
    scanner.advise(OPENSSL)
    assert verdicts(scanner.scan(fail_on="LOW")) == {"F": "PASS"}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"x": b"a static program"}, "no package of an operating system"),
        ({**BASE, STATUS: b""}, "no package of an operating system"),
        (
            {**BASE, "usr/lib/os-release": b"ID=amzn\nVERSION_ID=2023\nPRETTY_NAME=Amazon Linux 2023\n"},
            "Amazon Linux 2023",
        ),
        ({**BASE, **METADATA}, "PyPI"),
        ({**BASE, STATUS: "-> /opt/status"}, "link"),
        ({**BASE, "var/lib/rpm/Packages": b"x"}, "Berkeley DB"),
        ({**BASE, STATUS: dpkg(("openssl", "not a version"))}, "cannot be compared"),
    ],
)
def test_what_nobody_can_say_is_incomplete(scanner: Scanner, files: dict[str, Any], says: str) -> None:
    scanner.hand_over({"F": scanner.build(files)})
    scanner.advise(OPENSSL)
    failed = scanner.scan(fail_on="CRITICAL")
    assert (failed.outcome, verdicts(failed)) == ("failed", {"F": "INCOMPLETE"})
    assert failed.failure is not None
    assert says in failed.failure.message
    warned = scanner.scan(fail_on="CRITICAL", on_incomplete="warn")
    assert (warned.outcome, verdicts(warned)) == ("succeeded", {"F": "INCOMPLETE"})
    assert warned.statements[0]["predicate"]["verdict"] == "INCOMPLETE"


def test_advisories_that_are_none_are_refused(scanner: Scanner) -> None:
    scanner.hand_over({"F": scanner.build(BASE)})
    scanner.advise({"id": "X-1", "affected": "all"})
    with pytest.raises(InvalidInput, match=r"known/X-1\.json"):
        scanner.scan()
    shutil.rmtree(scanner.work / "source/known")
    (scanner.work / "source/known").mkdir()
    with pytest.raises(InvalidInput, match="known holds no advisories"):
        scan.check(Request("scan", "check", "h", {"advisories": "known"}, source="source"), scanner.work)


# What was handed over is not what it says


def _edit(scanner: Scanner, **changes: Any) -> None:
    path = scanner.work / "inputs/images/images.json"
    document = json.loads(path.read_text())
    document["functions"]["F"] |= changes
    path.write_text(json.dumps(document))


def test_another_image_than_the_one_named_is_refused(scanner: Scanner) -> None:
    one, other = scanner.build(BASE), scanner.build({**BASE, "x": b""})
    scanner.hand_over({"F": one})
    carrier = json.loads((scanner.work / "inputs/images/images.json").read_text())["functions"]["F"]["carrier"]
    scanner.advise(OPENSSL)
    _edit(scanner, carrier={**carrier, "image": other})
    with pytest.raises(StageError) as caught:
        scanner.scan()
    assert caught.value.cls == "mismatch"
    _edit(scanner, carrier={**carrier, "engine": "another"})
    with pytest.raises(StageError, match="built in the engine another"):
        scanner.scan()
    _edit(scanner, carrier={**carrier, "image": "sha256:" + "0" * 64})
    with pytest.raises(StageError, match="no longer"):
        scanner.scan()
    _edit(scanner, carrier={"type": "pigeon"})
    with pytest.raises(StageError, match="pigeon"):
        scanner.scan()


def test_layers_of_another_image_under_the_right_config_are_refused(scanner: Scanner) -> None:
    """A layout whose every blob has its digest, and whose manifest names harmless layers beside the config."""
    bad, good = scanner.build(BASE), scanner.build(debian(("openssl", "9-1")))
    scanner.hand_over({"F": bad, "G": good}, "oci-layout")
    folder = scanner.work / "inputs/images/oci"
    index = json.loads((folder / "index.json").read_text())
    manifests = {
        each["annotations"]["org.opencontainers.image.ref.name"]: folder / "blobs/sha256" / each["digest"][7:]
        for each in index["manifests"]
    }
    functions = json.loads((scanner.work / "inputs/images/images.json").read_text())["functions"]
    configs = {name: functions[name]["config"] for name in ("F", "G")}
    mixed = json.loads(manifests[configs["F"]].read_text())
    mixed["layers"] = json.loads(manifests[configs["G"]].read_text())["layers"]
    data = json.dumps(mixed).encode()
    name = subprocess.run(["sha256sum"], input=data, capture_output=True, check=True).stdout.decode()[:64]
    (folder / "blobs/sha256" / name).write_bytes(data)
    for each in index["manifests"]:
        if each["annotations"]["org.opencontainers.image.ref.name"] == configs["F"]:
            each |= {"digest": f"sha256:{name}", "size": len(data)}
    (folder / "index.json").write_text(json.dumps(index))
    scanner.advise(OPENSSL)
    with pytest.raises(StageError, match="is not the image") as caught:
        scanner.scan()
    assert caught.value.cls == "mismatch"


# A release, from a real registry


@pytest.fixture
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded_aws(tmp_path_factory.mktemp("embedded")) as url:
        yield url


TEMPLATE = "Resources:\n  F: {Type: AWS::Serverless::Function, Properties: {PackageType: Image}, Metadata: {Dockerfile: d, DockerContext: .}}\n"


def test_a_release_is_scanned_in_its_registry(scanner: Scanner, aws: str) -> None:
    """Packaged, and then removed from the engine: the registry is all there is. Any other digest is refused."""
    image = scanner.build({**BASE, **METADATA})
    scanner.hand_over({"F": image}, "oci-layout")
    scanner.advise(OPENSSL, TAR, PYPI)
    from_layout = scanner.scan()
    folder = scanner.work / "inputs/images"
    document = json.loads((folder / "images.json").read_text())
    about = {
        "stack": "",
        "path": ["Resources", "F"],
        "source": "sha256:" + "5" * 64,
        "platform": "linux/amd64",
        "size": 1,
    }
    document["functions"]["F"] |= about
    (folder / "images.json").write_text(json.dumps({**document, "templates": {"": "t.yaml"}, "parameters": {}}))
    (folder / "templates").mkdir()
    (folder / "templates" / "t.yaml").write_text(TEMPLATE)
    target = Target("artifacts", new_account(), "eu-west-1", embedded=True, repository="team/app")
    access = Access(endpoint_url=aws)
    shutil.rmtree(scanner.work / "outputs")
    request = Request("package", "apply", "h", {}, {"images": "inputs/images"}, target=target, access=access)
    package.apply(request, scanner.work)
    shutil.move(scanner.work / "outputs/release", scanner.work / "inputs/release")
    scanner.client.remove_image(image, force=True)

    result = scanner.scan(name="release", target=target, access=access)
    assert result.facts == from_layout.facts
    assert result.statements == from_layout.statements
    manifest = json.loads((scanner.work / "inputs/release/release.json").read_text())["functions"]["F"]["manifest"]
    assert next(iter(scanner.output("verdict.json")["images"].values()))["manifest"] == manifest

    release = scanner.work / "inputs/release/release.json"
    changed = json.loads(release.read_text())
    changed["functions"]["F"]["config"] = "sha256:" + "0" * 64
    release.write_text(json.dumps(changed))
    with pytest.raises(StageError) as caught:
        scanner.scan(name="release", target=target, access=access)
    assert caught.value.cls == "mismatch"


# A database of rpm's own making

SPEC = """\
Name: {name}
Version: 1.2.3
Release: 4.el9
Epoch: 2
Summary: x
License: MIT
BuildArch: noarch
%description
x
%install
mkdir -p %{{buildroot}}/usr/lib/x-1.dist-info
echo x > %{{buildroot}}/usr/lib/x-1.dist-info/METADATA-{name}
%files
/usr/lib/x-1.dist-info
"""


@pytest.fixture
def rpm_database(tmp_path: Path) -> bytes:
    """Build two packages and install them into a root of their own, with rpm."""
    root = tmp_path / "root"
    for name in ("alpha", "beta"):
        (tmp_path / f"{name}.spec").write_text(SPEC.format(name=name))
        subprocess.run(
            ["rpmbuild", "-bb", "--define", f"_topdir {tmp_path}/rpm", tmp_path / f"{name}.spec"],
            check=True,
            capture_output=True,
        )
    packages = sorted((tmp_path / "rpm/RPMS/noarch").glob("*.rpm"))
    common = ["rpm", "--root", str(root), "--dbpath", "/var/lib/rpm"]
    subprocess.run([*common, "--initdb"], check=True, capture_output=True)
    subprocess.run([*common, "-i", "--nodeps", "--noscripts", *map(str, packages)], check=True, capture_output=True)
    return (root / "var/lib/rpm/rpmdb.sqlite").read_bytes()


def test_a_database_of_rpms_own_making(scanner: Scanner, rpm_database: bytes) -> None:
    got = sorted(rpmdb.headers(rpm_database), key=lambda each: each.name)
    assert [(each.name, each.version, each.arch, each.source) for each in got] == [
        (name, "2:1.2.3-4.el9", "noarch", (name, "2:1.2.3-4.el9")) for name in ("alpha", "beta")
    ]
    assert got[0].files == ["/usr/lib/x-1.dist-info", "/usr/lib/x-1.dist-info/METADATA-alpha"]
    release = b'ID="rocky"\nVERSION_ID="9.3"\n'
    image = scanner.build({"usr/lib/os-release": release, "var/lib/rpm/rpmdb.sqlite": rpm_database})
    scanner.hand_over({"F": image})
    scanner.advise(
        advisory("RLSA-1", "Rocky Linux:9", "alpha", "2:1.2.3-5.el9"),
        advisory("RLSA-2", "Rocky Linux:9", "beta", "1:9-1"),
    )
    assert verdicts(scanner.scan()) == {"F": "FAIL"}
    assert findings(scanner) == {"RLSA-1"}


def test_a_budget_is_for_all_layers_of_all_images(scanner: Scanner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        layers.Budget,
        "__init__",
        lambda self: self.__dict__.update(entries=3, content_bytes=1 << 30, kept_bytes=1 << 20),
    )
    scanner.hand_over({"F": scanner.build(BASE), "G": scanner.build({**BASE, "x": b""})})
    scanner.advise(OPENSSL)
    assert set(verdicts(scanner.scan(fail_on="CRITICAL")).values()) == {"INCOMPLETE"}


def test_an_image_that_stays_in_a_registry_of_another_kind_is_scanned_there(scanner: Scanner, tmp_path: Path) -> None:
    """Nobody built it here, and no environment is needed to read it."""
    image = scanner.build({**BASE, **METADATA})
    scanner.hand_over({"F": image})
    scanner.advise(OPENSSL, TAR, PYPI)
    from_engine = scanner.scan()
    (tmp_path / "registry").mkdir()
    with running_registry(tmp_path / "registry") as host:
        digest = engine.push(scanner.client, image, f"{host}/team/app", "v1", None)
        scanner.client.remove_image(f"{host}/team/app:v1")
        path = scanner.work / "inputs/images/images.json"
        document = json.loads(path.read_text())
        document["functions"]["F"]["carrier"] = {"type": "registry", "name": f"{host}/team/app", "manifest": digest}
        path.write_text(json.dumps(document))
        result = scanner.scan()
    assert result.facts == from_engine.facts
    assert result.statements == from_engine.statements

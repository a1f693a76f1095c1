"""Package from real engines and layouts into the registry of an embedded AWS, which refuses as ECR does."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from integration.stages.images.running import build_scratch

from stages.aws.names import engine_reference
from stages.contract import InvalidInput, StageError
from stages.images import engine, refusals
from stages.images.logins import Login

if TYPE_CHECKING:
    from docker import APIClient
    from integration.stages.package.conftest import Packager

pytestmark = pytest.mark.engine

CARRIERS = ("engine", "oci-layout")


def _images(ecr: Any, repository: str = "team/app") -> dict[str, str]:
    """The repository's digests by tag."""
    details = ecr.describe_images(repositoryName=repository)["imageDetails"]
    return {tag: each["imageDigest"] for each in details for tag in each.get("imageTags", [])}


def _names(client: APIClient, image: str) -> list[str]:
    inspected: Any = client.inspect_image(image)  # type: ignore[no-untyped-call]
    return list(inspected["RepoTags"])


def _login(ecr: Any) -> tuple[str, str]:
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    user, _, password = base64.b64decode(token).decode().partition(":")
    return user, password


@pytest.mark.parametrize("carrier", CARRIERS)
def test_what_was_built_is_what_the_registry_serves(
    packager: Packager, client: APIClient, ecr: Any, carrier: str
) -> None:
    built = packager.build(carrier=carrier)
    release = packager.package()
    host = f"{packager.target.account}.dkr.ecr.eu-west-1.amazonaws.com"
    user, password = _login(ecr)
    for name in ("HelloFunction", "HolaFunction"):
        function = release["functions"][name]
        assert function["image"] == f"{host}/team/app@{function['manifest']}"
        assert function["config"] == built[name]["config"]
        tag = f"{name.lower()}-{built[name]['config'][7:19]}"
        assert _images(ecr)[tag] == function["manifest"]
        client.remove_image(built[name]["config"], force=True)
        pulled = engine_reference(function["image"], packager.access)
        repository, _, digest = pulled.partition("@")
        client.pull(repository, tag=digest, auth_config={"username": user, "password": password})
        assert engine.find(client, pulled) == built[name]["config"]
    assert packager.result.facts["release"] == release["digest"]


def test_the_packaged_template_is_the_template_but_for_the_images(packager: Packager) -> None:
    packager.build()
    release = packager.package()
    before = (packager.project.source / "template.yaml").read_bytes()
    after = (packager.output / "packaged-template.yaml").read_bytes()
    for function in release["functions"].values():
        before = before.replace(b"{PackageType", b"{ImageUri: " + function["image"].encode() + b", PackageType", 1)
    assert after == before
    assert release["templates"][""]["packaged"] == f"sha256:{hashlib.sha256(after).hexdigest()}"


def test_a_missing_repository_is_made_immutable_with_scan_on_push(packager: Packager, ecr: Any) -> None:
    packager.build()
    packager.package(repositories={"HolaFunction": "team/hola"})
    for name in ("team/app", "team/hola"):
        (made,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
        assert made["imageTagMutability"] == "IMMUTABLE"
        assert made["imageScanningConfiguration"] == {"scanOnPush": True}
        assert len(_images(ecr, name)) == 1


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_second_run_pushes_nothing_and_gives_the_same_bytes(
    packager: Packager, capsys: pytest.CaptureFixture[str], carrier: str
) -> None:
    """Catches a push to a tag that is there, which an immutable repository refuses."""
    packager.build(carrier=carrier)
    packager.package()
    first = {path.name: path.read_bytes() for path in packager.output.iterdir()}
    capsys.readouterr()
    packager.package()
    assert {path.name: path.read_bytes() for path in packager.output.iterdir()} == first
    messages = [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()]
    assert len([message for message in messages if "is there already" in message]) == 2
    assert not [message for message in messages if message.startswith("pushed")]


def test_only_the_changed_function_is_pushed(packager: Packager, ecr: Any) -> None:
    packager.build()
    first = packager.package()
    packager.project.write("hola/code", "changed")
    packager.build()
    second = packager.package()
    assert second["functions"]["HelloFunction"] == first["functions"]["HelloFunction"]
    assert second["functions"]["HolaFunction"]["manifest"] != first["functions"]["HolaFunction"]["manifest"]
    assert second["digest"] != first["digest"]
    assert len(_images(ecr)) == 3


def test_equal_images_are_pushed_once(packager: Packager, ecr: Any) -> None:
    packager.project.write_template(
        dict.fromkeys(("A", "B", "C"), "Dockerfile: Dockerfile, DockerContext: hello")
    )  # fmt: skip
    packager.build()
    release = packager.package()
    assert len({function["image"] for function in release["functions"].values()}) == 1
    assert len(_images(ecr)) == 1


def test_the_names_for_pushing_are_taken_off_again(packager: Packager, client: APIClient) -> None:
    built = packager.build()
    packager.package()
    for function in built.values():
        assert [name for name in _names(client, function["config"]) if not name.startswith("towpath/")] == []


def test_another_image_under_our_tag_is_a_mismatch_and_nothing_is_overwritten(
    packager: Packager, client: APIClient, ecr: Any
) -> None:
    """Catches a release that pins whatever the registry has under an expected name."""
    built = packager.build()
    ecr.create_repository(repositoryName="team/app")
    tag = f"hellofunction-{built['HelloFunction']['config'][7:19]}"
    name = engine_reference(f"{packager.target.account}.dkr.ecr.eu-west-1.amazonaws.com/team/app", packager.access)
    foreign = build_scratch(client, f"foreign {packager.project.mark}")
    packager.project.built.append(foreign)
    engine.push(client, foreign, name, tag, Login(*_login(ecr)))
    before = _images(ecr)[tag]
    with pytest.raises(StageError, match="HelloFunction: the registry has the image") as caught:
        packager.package()
    assert caught.value.cls == "mismatch"
    assert _images(ecr)[tag] == before
    assert not packager.output.exists()


def test_a_changed_layout_is_refused_before_anything_is_made(packager: Packager, ecr: Any) -> None:
    packager.build(carrier="oci-layout")
    blob = max((packager.images / "oci" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(StageError, match="holds something else") as caught:
        packager.package()
    assert caught.value.cls == "mismatch"
    assert ecr.describe_repositories()["repositories"] == []


def test_a_swapped_config_digest_is_refused(packager: Packager, ecr: Any) -> None:
    """Catches a consumer that believes images.json: the engine's image is another than the one that was scanned."""
    built = packager.build()
    packager.edit("HelloFunction", config=built["HolaFunction"]["config"])
    with pytest.raises(StageError, match="HelloFunction: the engine has") as caught:
        packager.package()
    assert caught.value.cls == "mismatch"
    assert ecr.describe_repositories()["repositories"] == []


def test_another_engine_has_a_remedy(packager: Packager) -> None:
    built = packager.build()
    packager.edit("HelloFunction", carrier=built["HelloFunction"]["carrier"] | {"engine": "ELSE:WHERE"})
    with pytest.raises(StageError, match="was built in the engine ELSE:WHERE") as caught:
        packager.package()
    assert "carrier: oci-layout" in (caught.value.hint or "")


def test_an_image_that_somebody_removed_has_a_remedy(packager: Packager, client: APIClient, ecr: Any) -> None:
    built = packager.build()
    client.remove_image(built["HolaFunction"]["config"], force=True)
    with pytest.raises(StageError, match=r"HolaFunction: its image .* is no longer in this machine's engine") as caught:
        packager.package()
    assert "Start a new run" in (caught.value.hint or "")
    assert ecr.describe_repositories()["repositories"] == []


def test_unknown_names_in_the_mapping_are_refused_before_anything_is_made(packager: Packager, ecr: Any) -> None:
    packager.build()
    with pytest.raises(InvalidInput, match="`repositories` names 'HelloFuntion'"):
        packager.package(repositories={"HelloFuntion": "team/hello"})
    assert ecr.describe_repositories()["repositories"] == []


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_registry_that_refuses_the_login(packager: Packager, monkeypatch: pytest.MonkeyPatch, carrier: str) -> None:
    packager.build(carrier=carrier)
    monkeypatch.setattr("stages.aws.ecr.login", lambda _: ("AWS", "wrong"))
    monkeypatch.setattr(refusals, "FIRST_DELAY_S", 0)
    with pytest.raises(StageError) as caught:
        packager.package()
    assert caught.value.cls in {"terminal", "retryable"}
    assert caught.value.hint
    assert not packager.output.exists()


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_login_that_expires_on_the_way_is_renewed(
    packager: Packager, ecr: Any, monkeypatch: pytest.MonkeyPatch, carrier: str
) -> None:
    """Catches a push that takes longer than a token lives, by an engine and by ourselves."""
    packager.build(carrier=carrier)
    logins = [("AWS", "expired")]
    good = _login(ecr)
    monkeypatch.setattr("stages.aws.ecr.login", lambda _: logins.pop() if logins else good)
    monkeypatch.setattr(refusals, "FIRST_DELAY_S", 0)
    packager.package()
    assert logins == []
    assert len(_images(ecr)) == 2


def test_a_repository_deleted_under_our_feet(packager: Packager, monkeypatch: pytest.MonkeyPatch) -> None:
    packager.build(carrier="oci-layout")
    monkeypatch.setattr("stages.aws.ecr.ensure_repository", lambda *_: None)
    with pytest.raises(StageError, match="HelloFunction: ") as caught:
        packager.package()
    assert "There is no such repository" in (caught.value.hint or "")

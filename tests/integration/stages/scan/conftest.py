"""Images of the engine's, made from files, and what scans them."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from support.layers import layer

from stages import scan
from stages.contract import Access, Request, Result, Target
from stages.images import engine, layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker import APIClient


@pytest.fixture
def client() -> Iterator[APIClient]:
    with engine.connect() as client:
        yield client


@dataclass
class Scanner:
    """Builds images and scans them, as the stage does it."""

    client: APIClient
    work: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    made: list[str] = field(default_factory=list)

    def build(self, files: dict[str, Any], *instructions: str) -> str:
        """Build an image of these files from scratch, then do what the instructions say; give its id."""
        context = layer({"root/mark": self.mark.encode(), **{f"root/{name}": what for name, what in files.items()}})
        text = "\n".join(["FROM scratch", "COPY root /", *instructions, 'CMD ["x"]']).encode()
        out = io.BytesIO(context)
        with tarfile.open(fileobj=out, mode="a") as archive:
            info = tarfile.TarInfo("Dockerfile")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
        out.seek(0)
        for event in self.client.build(fileobj=out, custom_context=True, decode=True, rm=True):
            assert "error" not in event, event
            if image := (event.get("aux") or {}).get("ID"):
                self.made.append(image)
        return self.made[-1]

    def hand_over(self, images: dict[str, str], carrier: str = "engine") -> None:
        """Write the artifact that build would."""
        folder = self.work / "inputs" / "images"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        known = {name: engine.inspect(self.client, image) for name, image in images.items()}
        configs = {name: each.config for name, each in known.items() if each}
        if carrier == "oci-layout":
            layout.write(engine.save(self.client, images.values()), folder / "oci", set(configs.values()))
        carriers = {
            name: {"type": "oci-layout", "path": "oci"}
            if carrier == "oci-layout"
            else {"type": "engine", "engine": engine.engine_id(self.client), "image": images[name]}
            for name in images
        }
        functions = {name: {"config": configs[name], "carrier": carriers[name]} for name in images}
        (folder / "images.json").write_text(json.dumps({"v": 2, "functions": functions}))

    def advise(self, *advisories: dict[str, Any]) -> None:
        """Write the folder of advisories; each names an `id` and what is `affected`."""
        folder = self.work / "source" / "known"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for each in advisories:
            (folder / f"{each['id']}.json").write_text(json.dumps(each))

    def scan(
        self, *, name: str = "images", target: Target | None = None, access: Access | None = None, **options: Any
    ) -> Result:
        shutil.rmtree(self.work / "outputs", ignore_errors=True)
        request = Request(
            "scan",
            "apply",
            "run-scan-1",
            {"advisories": "known", **{key.replace("_", "-"): value for key, value in options.items()}},
            {name: f"inputs/{name}"},
            source="source",
            target=target,
            access=access,
        )
        return scan.apply(request, self.work)

    def output(self, file: str) -> Any:
        return json.loads((self.work / "outputs" / "scan" / file).read_text())


@pytest.fixture
def scanner(client: APIClient, tmp_path: Path) -> Iterator[Scanner]:
    scanner = Scanner(client, tmp_path)
    yield scanner
    for image in reversed(scanner.made):
        if engine.find(client, image):
            client.remove_image(image, force=True)


def advisory(identity: str, ecosystem: str, name: str, fixed: str | None, severity: str = "HIGH") -> dict[str, Any]:
    events = [{"introduced": "0"}, *([{"fixed": fixed}] if fixed else [])]
    return {
        "id": identity,
        "affected": [
            {"package": {"ecosystem": ecosystem, "name": name}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
        ],
        "database_specific": {"severity": severity},
    }

"""What was removed as a whole is missed: by the runs that were opened later, by ledgers, and by heads that are kept elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.machine import TOWPATH

if TYPE_CHECKING:
    from pathlib import Path

    from security.conftest import Record


def heads(record: Record, file: Path) -> Path:
    argv = [TOWPATH, "audit", "heads", "--store", str(record.root)]
    file.write_text(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    return file


def first_and_last(record: Record) -> tuple[str, str]:
    one, two = sorted((record.run, record.other))
    return one, two


def test_a_run_that_a_later_one_found_there(record: Record) -> None:
    one, two = first_and_last(record)
    shutil.rmtree(record.root / "runs" / one)
    record.verify(two, code=0)  # that run itself is whole
    said = record.verify("--all", code=7)
    assert f"runs/{one}: is missing: it was there when run {two} was opened" in said


def test_a_run_in_the_place_of_another(record: Record) -> None:
    """Opened by the same key, and whole; but not the run that the later one found."""
    one, two = first_and_last(record)
    opening = record.root / "runs" / one / "open/00000002.json"
    opening.chmod(0o640)
    opening.write_bytes(opening.read_bytes().replace(b'"data"', b'"data" '))
    assert f"opens otherwise than run {two} found it" in found_with_all(record)


def found_with_all(record: Record) -> str:
    argv = [TOWPATH, "audit", "verify", "--all", "--json", "--store", str(record.root), "--trust", str(record.trust)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    listed = json.loads(done.stdout)
    return "\n".join(
        each["text"] for part in (*listed["runs"], {"findings": listed["store"]}) for each in part["findings"]
    )


def test_the_last_run_is_missed_by_heads_that_were_kept(record: Record, tmp_path: Path) -> None:
    kept = heads(record, tmp_path / "heads.jsonl")
    record.verify("--all", "--heads", str(kept), code=0)
    _, two = first_and_last(record)
    shutil.rmtree(record.root / "runs" / two)
    record.verify("--all", code=0)  # nothing in the store knows of it
    assert f"runs/{two}/" in record.verify("--all", "--heads", str(kept), code=4)


def test_what_came_since_is_no_difference(record: Record, tmp_path: Path) -> None:
    kept = heads(record, tmp_path / "heads.jsonl")
    lines = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join(lines[:-2]))
    record.verify("--all", "--heads", str(kept), code=0)


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "no json",
        '{"chain":"../../etc","head":"sha256:' + "0" * 64 + '","length":1}',
        '{"chain":"runs/x/open","head":"x","length":1}',
        '{"chain":"runs/x\\u0000/open","head":"sha256:' + "0" * 64 + '","length":1}',
        '{"chain":"runs/x/open","head":"sha256:' + "0" * 64 + '","length":1' + "0" * 4000 + "}",
        '{"chain":"' + "x" * 300 + '","head":"sha256:' + "0" * 64 + '","length":1}',
    ],
)
def test_a_file_of_something_else_is_a_mistake(record: Record, tmp_path: Path, line: str) -> None:
    file = tmp_path / "heads.jsonl"
    file.write_text(f"{line}\n")
    assert "heads.jsonl:1: this is not the head of a chain" in record.verify("--heads", str(file), code=2)
    assert "cannot read the file of heads" in record.verify("--heads", str(tmp_path / "none"), code=2)

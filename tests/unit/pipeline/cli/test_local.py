from __future__ import annotations

import dataclasses
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from pipeline.cli import direct, runnable, sam
from pipeline.cli.local import _terminated, invoke
from pipeline.errors import Interrupted, TowpathError

if TYPE_CHECKING:
    from pathlib import Path


def test_who_bears_with_errors_does_not_bear_with_being_asked_to_end() -> None:
    with pytest.raises(Interrupted) as ended, _terminated(), suppress(TowpathError):
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 143


@pytest.mark.parametrize(
    "given",
    [["A=1 B='x y'"], ["A=1", "B='x y'"], ["ParameterKey=A,ParameterValue=1", "ParameterKey=B,ParameterValue='x y'"]],
)
def test_parameters_are_overridden_in_every_form_of_sams(given: list[str], tmp_path: Path) -> None:
    (tmp_path / "template.yaml").touch()
    argv = ["--project", str(tmp_path), "--parameter-overrides", *given, "Fn"]
    with invoke.make_context("invoke", argv) as context:
        assert context.params["function"] == "Fn"
        assert runnable.asked(runnable.said(runnable.INVOKE, context.params)).overrides == {"A": "1", "B": "x y"}


def test_what_is_built_first_is_built_with_the_parameters_that_it_is_run_with(tmp_path: Path) -> None:
    (tmp_path / "template.yaml").touch()
    (tmp_path / "sam.toml").write_text('[a.build.parameters]\nparameter_overrides = "B=c"\n')
    overrides = {"Base": "python:3.12", "Motto": 'it\'s "two words"', "Path": "C:\\a"}
    asked = runnable.Asked(
        tmp_path,
        None,
        "template.yaml",
        overrides,
        None,
        None,
        None,
        build=True,
        config_file=str(tmp_path / "sam.toml"),
        config_env="a",
    )
    with direct.build.make_context("build", runnable.build_arguments(asked)) as context:
        said = sam.said(direct.BUILD, tmp_path, context.params, quiet=True)
        assert said["parameter_overrides"] == overrides
        assert said["template_file"] == "template.yaml"
    asked = dataclasses.replace(asked, overrides={})
    with direct.build.make_context("build", runnable.build_arguments(asked)) as context:
        assert sam.said(direct.BUILD, tmp_path, context.params, quiet=True)["parameter_overrides"] == {"B": "c"}

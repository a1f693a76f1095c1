from __future__ import annotations

import dataclasses
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from pipeline.cli import common, direct, runnable, sam
from pipeline.cli.local import _terminated, invoke
from pipeline.errors import Interrupted, TowpathError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_bears_with_errors_does_not_bear_with_being_asked_to_end(number: signal.Signals) -> None:
    with pytest.raises(Interrupted) as ended, _terminated(), suppress(TowpathError):
        signal.raise_signal(number)
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


def test_a_closed_terminal_is_not_heeded_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _terminated():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_template_is_known_by_its_path_from_the_project_however_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "template.yml").touch()
    names = (None, "template.yml", "./template.yml", f"../{tmp_path.name}/template.yml", str(tmp_path / "template.yml"))
    assert {common.template(tmp_path, name) for name in names} == {"template.yml"}
    assert common.template(tmp_path, "../template.yml") == "../template.yml"


def test_what_samconfig_says_is_taken_as_sam_takes_it(tmp_path: Path) -> None:
    (tmp_path / "samconfig.toml").write_text(
        "[default.global.parameters]\ntemplate_file = '.aws-sam/build/template.yaml'\n"
        "[default.local_start_api.parameters]\nport = '3999'\n"
    )
    asked = {"project": str(tmp_path), "config_file": None, "config_env": None}
    found = runnable.said(runnable.START_API, asked)
    assert ("template_file" in found, found["port"]) == (False, 3999)
    (tmp_path / "samconfig.toml").write_text("[default.local_start_api.parameters]\nport = true\n")
    with pytest.raises(UsageError, match="port must be a number"):
        runnable.said(runnable.START_API, asked)

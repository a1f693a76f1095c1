"""init: from nothing to a project, from a SAM project to a pipeline, and one function more."""

from __future__ import annotations

import getpass
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli import common
from pipeline.cli.asking import Asking
from pipeline.errors import UsageError
from pipeline.init import choices
from pipeline.init.choices import ARCHITECTURES, CI_SYSTEMS
from pipeline.init.runtimes import RUNTIMES

if TYPE_CHECKING:
    from pipeline.definition import Definition

_NAME = "my-app"
_FUNCTION = "hello"
_ENVIRONMENTS = ("staging", "production")
_REGION = "eu-central-1"
_IGNORED = "/.towpath/\n"

_runtime = click.option("--runtime", type=click.Choice(list(RUNTIMES)), help="What the functions are written in.")
_api = click.option("--api/--no-api", default=None, help="Whether the function is behind an API of Amazon API Gateway.")
_base_image = click.option(
    "--base-image", metavar="IMAGE", help="What the functions' images begin from. Default: AWS's own for the runtime."
)
_no_input = click.option("--no-input", is_flag=True, help="Ask nothing: what is not given is as the default says.")


class _Init(click.Group):
    """A group that says how a project's name is given: as an option, since a word after it is a command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            hint = f"A project of that name: towpath init --name {args[0]}   One function more: towpath init function"
            raise UsageError(f"init has no command {args[0]!r}", hint=hint)
        return super().resolve_command(ctx, args)


@click.group(cls=_Init, invoke_without_command=True)
@click.option("--name", metavar="NAME", help="The project's name, and its folder's.  [default: my-app]")
@_runtime
@click.option(
    "--function", "functions", multiple=True, metavar="NAME", help="A function; may be repeated.  [default: hello]"
)
@_api
@click.option(
    "--architecture",
    type=click.Choice(ARCHITECTURES),
    help="The processor that functions run on.  [default: this machine's]",
)
@click.option("--ci", type=click.Choice(CI_SYSTEMS), help="The CI system to write a workflow for.  [default: none]")
@click.option(
    "--environment",
    "environments",
    multiple=True,
    metavar="NAME",
    help="Where it is deployed; may be repeated, in order.  [default: staging, production]",
)
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="[ENVIRONMENT=]ACCOUNT",
    help="An account's twelve digits, for all environments or for one; `artifacts` holds the images. Invented ones do for "
    "the AWS on this machine.",
)
@click.option("--region", metavar="REGION", help="The region of all environments.  [default: eu-central-1]")
@_base_image
@click.option("--project", metavar="DIR", help="The folder to write to.  [default: a new one, called as the project]")
@click.option(
    "--from-sam",
    is_flag=True,
    help="Add a pipeline to the SAM project that is there, from its template and samconfig.toml, which stay as they are.",
)
@_no_input
@common.as_json
@click.pass_context
def init(
    context: click.Context,
    *,
    name: str | None,
    runtime: str | None,
    functions: tuple[str, ...],
    api: bool | None,
    architecture: str | None,
    ci: str | None,
    environments: tuple[str, ...],
    accounts: tuple[str, ...],
    region: str | None,
    base_image: str | None,
    project: str | None,
    from_sam: bool,
    no_input: bool,
    as_json: bool,
) -> None:
    """Make a project: an application of Lambda functions with tests, its pipeline, and a workflow for CI.

    Asks for what is not given; without a terminal give it, or --no-input. Everything works at once on the AWS of this
    machine; the project's README says how it goes to your accounts.
    """
    if context.invoked_subcommand:
        given = next((each for each in context.params if _is_given(context, each)), None)
        if given:
            raise UsageError(
                f"--{given.replace('_', '-')} stands before {context.invoked_subcommand}", hint="Write it after it."
            )
        return
    if from_sam:
        _only(context, "name", "accounts", "region", "ci", "project", "from_sam", "no_input", "as_json")
        _add_to_sam(Path(project or "."), name, accounts, region, ci or "none", as_json=as_json)
        return
    from pipeline.init import render, writing

    ask = Asking(no_input=no_input)
    folder = Path(project) if project else None
    if folder:
        writing.free(folder)

    def free(text: str) -> str:
        named = choices.name(text)
        if not folder and not ask.missing:
            writing.free(Path(named))
        return named

    name = ask.text("--name", "Name", name, _default_name(folder), free)
    runtime = ask.choice("--runtime", "Runtime", runtime, "python", list(RUNTIMES))
    named = ask.texts("--function", "Functions", functions, [_FUNCTION], choices.functions)
    api = ask.yes("--api or --no-api", "Behind an API?", api, default=True)
    architecture = ask.choice("--architecture", "Architecture", architecture, _machine(), ARCHITECTURES)
    ci = ask.choice("--ci", "CI system", ci, "none", CI_SYSTEMS)
    deployed = ask.texts("--environment", "Environments, in order", environments, _ENVIRONMENTS, choices.environments)
    ask.refuse()
    artifacts, *places = choices.places(deployed, accounts, region or _REGION)
    begun = choices.runtime(runtime)
    chosen = choices.Choices(
        name=name,
        runtime=begun,
        functions=named,
        api=api,
        architecture=architecture,
        ci=ci,
        artifacts=artifacts,
        environments=tuple(places),
        base_image=choices.image(base_image or begun.image),
        person=_person(),
    )
    files = render.project(chosen, _machine())
    folder = folder or Path(name)
    writing.new_folder(folder, files)
    other = f"The functions are for {architecture}, and this machine is {_machine()}: the AWS on it cannot run them. README.md says more."
    _tell(folder, sorted(files), [other] if architecture != _machine() else [], as_json=as_json)


@init.command("function", short_help="Add a function to a project that is there.")
@click.argument("name")
@_runtime
@_api
@_base_image
@click.option("--template", metavar="FILE", help="The template to add it to, if the pipeline builds several.")
@common.project
@_no_input
@common.as_json
def init_function(
    name: str,
    *,
    runtime: str | None,
    api: bool | None,
    base_image: str | None,
    template: str | None,
    project: str,
    no_input: bool,
    as_json: bool,
) -> None:
    """Add a function to a project that is there: its folder, its entry in the template, and what the smoke test asks.

    The template keeps every byte that it has. Runtime, base image and API are as the project's functions have them, if not said.
    """
    from pipeline.init import functions

    folder = Path(project)
    definition, _ = common.load(folder / "pipeline.yaml")
    named = choices.function(name, "NAME")
    template = template or _only_template(definition)
    ask = Asking(no_input=no_input)
    found = functions.begun(folder, template)
    if found is None or (runtime and runtime != found.runtime.name):
        chosen = choices.runtime(ask.choice("--runtime", "Runtime", runtime, "python", list(RUNTIMES)))
        found = functions.Begun(chosen, chosen.image)
    ask.refuse()
    begin = functions.Begun(found.runtime, choices.image(base_image or found.base_image))
    behind = functions.has_api(folder, template) if api is None else api
    wanted = functions.plan(folder, template, _only_requests(definition), named, begin, api=behind)
    functions.write(folder, wanted)
    notes = [f"Add to what the smoke test asks:\n{wanted.by_hand}"] if wanted.by_hand else []
    _tell(folder, [*sorted(wanted.new), *wanted.changed], notes, as_json=as_json)


def _add_to_sam(
    project: Path, name: str | None, accounts: tuple[str, ...], region: str | None, ci: str, *, as_json: bool
) -> None:
    from pipeline.init import render, sam, writing

    found = sam.read(project, sam.Asked(name, accounts, region), _REGION, _person())
    files = render.from_sam(found, ci)
    notes = list(found.notes)
    ignored = project / ".gitignore"
    if not ignored.exists():
        files[".gitignore"] = _IGNORED.encode()
    elif ".towpath" not in ignored.read_text(encoding="utf-8", errors="replace"):
        notes.append(f"Add to .gitignore: {_IGNORED.strip()}")
    writing.add(project, files)
    _tell(project, sorted(files), notes, as_json=as_json)


def _only_template(definition: Definition) -> str:
    """Give the template that the pipeline builds. Raises UsageError if that is not one."""
    found = _option(definition, "build", "template")
    if len(found) == 1:
        return found[0]
    hint = "Name it: --template FILE, from the project's folder."
    raise UsageError(f"the pipeline builds {len(found) or 'no'} templates by name", hint=hint)


def _only_requests(definition: Definition) -> str | None:
    found = _option(definition, "invoke", "requests")
    return found[0] if len(found) == 1 else None


def _option(definition: Definition, kind: str, name: str) -> list[str]:
    """Give the values that the stages of a kind have for an option, each once; what takes a run's parameters is left out."""
    values = [each.options.get(name) for each in definition.stages.values() if each.uses == kind]
    return list(dict.fromkeys(each for each in values if isinstance(each, str) and "${{" not in each))


def _default_name(folder: Path | None) -> str:
    """The folder's own, if it can be one."""
    if folder is None:
        return _NAME
    name = folder.absolute().name
    try:
        return choices.name(name)
    except UsageError:
        return _NAME


def _person() -> choices.Person | None:
    """Give whoever is at work, as git and this machine know them."""
    from pipeline import source

    email = source.git(Path(), "config", "user.email")
    if not email:
        return None
    try:
        login = getpass.getuser()
    except (KeyError, OSError):  # a user that the machine has no name for
        login = email
    return choices.person(source.git(Path(), "config", "user.name") or "", email, login)


def _machine() -> str:
    return "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _only(context: click.Context, *names: str) -> None:
    """Refuse options that are for a new project alone."""
    wrong = next((each for each in context.params if each not in names and _is_given(context, each)), None)
    if wrong:
        hint = "What functions there are, and how they are built, the project's template says."
        raise UsageError(f"--{wrong.replace('_', '-')} is not for --from-sam", hint=hint)


def _tell(folder: Path, files: list[str], notes: list[str], *, as_json: bool) -> None:
    if as_json:
        common.print_json({"project": str(folder.absolute()), "files": files, "notes": notes})
        return
    for each in files:
        click.echo(f"  {folder / each}")
    for each in notes:
        click.echo(f"\n{each}")
    where = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    click.echo(f"\nNext: {where}towpath validate, then towpath run")

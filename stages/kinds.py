"""The one table of kinds: options, inputs, outputs, phases and needs of each.

The JSON Schema, the validation of `with:`, the planner, the executors and the reference page all read this table; a kind's
code is `stages/<kind>/`, which has one function for each of its phases:

    def apply(request: Request, work: Path) -> Result

`command` has no code: the user's own program is the stage. To add a kind, see CONTRIBUTING.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from stages.contract import Phase

OptionType = Literal["string", "boolean", "integer", "file", "folder", "strings", "map", "image", "paths"]
"""`file`: a path below the project, read at plan time and recorded. `folder`: the same of all files in it and below.
`strings`: a list. `map`: names to strings. `paths`: a list of plain names below the project, or `.`. `image`: an image by its digest, as
`IMAGE` has it."""

IMAGE = r"([a-z0-9][A-Za-z0-9._:/-]*@)?sha256:[0-9a-f]{64}"
"""`NAME@sha256:…`, or the id that an engine has for an image."""

Need = Literal["source", "engine", "network", "credentials", "cache", "docker-config"]
"""`source`: the whole project. A kind without it sees just the files that its options name, as they were recorded.
`cache`: a folder of the project that outlives the run (`Request.cache`). `docker-config`: the docker client's configuration, with
its logins and plugins."""


@dataclass(frozen=True)
class Option:
    """One key of `with:`."""

    name: str
    type: OptionType
    help: str
    required: bool = False
    default: Any = None  # a JSON value of the option's type
    choices: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    """Environment variables that the stage is handed if this is given."""
    names_files: tuple[str, ...] = ()
    """Keys in the entries of such a YAML file whose values are further files, by their paths from it: they are recorded with it."""
    flag: str = ""
    """What the command calls it, where that is not its name: one entry of a list or a map at a time."""


@dataclass(frozen=True)
class Kind:
    """What a kind of stage takes, gives and needs.

    `inputs` and `outputs` name artifacts: an input is taken from the one stage among those needed, near or far, that
    outputs an artifact of that name; where the option `in_place_of_inputs` is given, it takes none. `takes_one_of` names artifacts of which it takes
    exactly one: the one that a stage in its own `needs` outputs, or else the only one that any stage further back does. `reuses` maps an artifact to the file of it that the last stage of this kind and these files, in an
    earlier run, may save work by (`Request.previous`). `environment` says whether a stage of this kind names a target.
    """

    name: str
    summary: str
    options: tuple[Option, ...] = ()
    inputs: tuple[str, ...] = ()
    takes_one_of: tuple[str, ...] = ()
    in_place_of_inputs: str = ""
    outputs: tuple[str, ...] = ()
    reuses: tuple[tuple[str, str], ...] = ()
    evidence: tuple[str, ...] = ()
    """Artifacts that its propose phase is shown (`Request.evidence`), if there are any: `NAME` by a stage that it needs, near or far, and
    `standing-NAME` of the run whose deployment stands at its target."""
    phases: tuple[Phase, ...] = ("apply",)
    needs: frozenset[Need] = frozenset()
    environment: Literal["required", "optional", "none"] = "none"
    idempotent: bool = True
    """Whether an attempt that died in the middle may simply be followed by another."""
    outside: str = ""
    """What goes on outside when its apply phase is ended in the middle, in words for whoever ended it."""
    secrets: bool = False
    """Whether a stage of this kind may be handed secrets."""
    by_command: bool = False
    """Whether only a command of its own makes a stage of this kind, and no pipeline does."""

    def role(self, phase: Phase) -> str:
        """Give the key of `roles` for a phase: the kind's name, and where it proposes before it acts, the phase's."""
        return phase if "propose" in self.phases else self.name

    @property
    def begins_anew(self) -> bool:
        """Whether an attempt after one that died in its apply phase begins that anew, and does not finish what goes on outside."""
        return "propose" not in self.phases

    @property
    def roles(self) -> tuple[str, ...]:
        """The keys of `roles` that its phases need, if they sign in to AWS by roles."""
        found = dict.fromkeys(self.role(phase) for phase in self.phases)
        return tuple(found) if "credentials" in self.needs else ()


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "build",
            "Build each function's container image from its Dockerfile.",
            options=(
                Option("template", "file", "The SAM or CloudFormation template.", required=True, flag="template-file"),
                Option(
                    "parameters",
                    "map",
                    "Values of the template's parameters where it names an image or says how to build one; "
                    "its defaults stand behind them. A deployment's own are the environment's.",
                    flag="parameter-overrides",
                ),
                Option(
                    "build-args",
                    "map",
                    "Build arguments for every function; they win over the template's DockerBuildArgs.",
                    flag="build-arg",
                ),
                Option(
                    "carrier",
                    "string",
                    "Where built images are kept: `engine` (fast, this machine only) or `oci-layout` (in the record, for another machine).",
                    default="engine",
                    choices=("engine", "oci-layout"),
                ),
                Option("jobs", "integer", "Images built at the same time.", default=4),
                Option(
                    "fail-fast",
                    "boolean",
                    "Whether a function that fails stops the builds of the others, or they are finished first.",
                    default=True,
                ),
                Option(
                    "builder",
                    "string",
                    "What builds: `buildkit`, the engine's `classic` builder, or `auto`, which is BuildKit where it can be had.",
                    default="auto",
                    choices=("auto", "buildkit", "classic"),
                ),
                Option("pull", "boolean", "Ask the registry for newer base images, and build anew.", default=False),
                Option("no-cache", "boolean", "Build anew, and every step of it.", default=False),
                Option(
                    "ssh",
                    "strings",
                    "SSH agents or keys that a `RUN --mount=type=ssh` may use, as `docker build --ssh` takes them. BuildKit only.",
                    variables=("SSH_AUTH_SOCK",),
                ),
                Option(
                    "cache-from",
                    "strings",
                    "Where BuildKit may take finished steps from, as `docker build --cache-from` takes it.",
                ),
                Option(
                    "cache-to",
                    "strings",
                    "Where BuildKit leaves finished steps, as `docker buildx build --cache-to` takes it.",
                ),
                Option(
                    "sam-tags",
                    "boolean",
                    "Whether images also get the name that `sam build` gives them, `<function>:<DockerTag>`. Nothing of ours relies on it.",
                    default=False,
                ),
            ),
            outputs=("images",),
            reuses=(("images", "images.json"),),
            phases=("check", "apply"),
            needs=frozenset({"source", "engine", "network", "cache", "docker-config"}),
            secrets=True,
        ),
        Kind(
            "scan",
            "Look for known flaws in the packages of each image, and write its bill of materials.",
            options=(
                Option(
                    "advisories",
                    "folder",
                    "Folder of advisories in OSV's format, .json or .zip. They are recorded with the plan.",
                    required=True,
                ),
                Option(
                    "fail-on",
                    "string",
                    "The least severity of a finding that fails the stage. A finding whose severity nobody says counts as HIGH.",
                    default="HIGH",
                    choices=("LOW", "MEDIUM", "HIGH", "CRITICAL"),
                ),
                Option(
                    "on-incomplete",
                    "string",
                    "What becomes of the stage if an image cannot be judged completely: `fail`, or `warn` and go on.",
                    default="fail",
                    choices=("fail", "warn"),
                ),
            ),
            takes_one_of=("images", "release"),
            outputs=("scan",),
            phases=("check", "apply"),
            needs=frozenset({"engine", "network", "credentials"}),
            environment="optional",
        ),
        Kind(
            "package",
            "Push the images and write the packaged template, its ImageUri values pinned by digest. Given a release instead, copy its "
            "images by digest to this environment's registry, and write the template that names them there.",
            options=(
                Option(
                    "packaged",
                    "file",
                    "A template that is packaged already, by Towpath or AWS SAM CLI, in place of images that were built: nothing is "
                    "pushed, and an image that it names by a tag is pinned by the digest that this has now.",
                ),
                Option(
                    "repositories",
                    "map",
                    "Repository for a function, by its logical id; others go to `repository`. A name in the environment's "
                    "registry, or a full name with a registry's host.",
                    flag="image-repositories",
                ),
                Option(
                    "repository",
                    "string",
                    "Repository for all images; the environment's if not said.",
                    flag="image-repository",
                ),
                Option(
                    "application",
                    "string",
                    "Name of the application: each function that `repositories` does not name gets a repository of its own, "
                    "`<application>/<function>`, made if missing. One that was made for another application is refused.",
                ),
                Option(
                    "kms-key",
                    "string",
                    "KMS key that encrypts repositories which are made, and what is uploaded to S3; without one AWS's own does.",
                    flag="kms-key-id",
                ),
                Option(
                    "bucket",
                    "string",
                    "S3 bucket, made if missing, for nested templates and what templates name besides images; the "
                    "environment's if not said.",
                    flag="s3-bucket",
                ),
                Option(
                    "prefix",
                    "string",
                    "What the keys of uploads begin with; `towpath` if not said.",
                    flag="s3-prefix",
                ),
                Option("jobs", "integer", "Images pushed at the same time.", default=8),
            ),
            takes_one_of=("images", "release"),
            in_place_of_inputs="packaged",
            outputs=("release",),
            needs=frozenset({"engine", "network", "credentials", "docker-config"}),
            environment="optional",
        ),
        Kind(
            "deploy",
            "Deploy the packaged template as a CloudFormation stack: propose a change set, then execute just that one.",
            inputs=("release",),
            outputs=("deployment",),
            evidence=("scan",),
            phases=("propose", "apply"),
            needs=frozenset({"network", "credentials"}),
            environment="required",
            outside="what CloudFormation has begun goes on there, and `towpath resume` follows it to its end",
            secrets=True,
        ),
        Kind(
            "recover",
            "Free a CloudFormation stack that is stuck, or delete what a creation that failed has left.",
            options=(
                Option(
                    "skip",
                    "strings",
                    "A resource that the stack is stuck at, to be left as it is. May be repeated.",
                ),
            ),
            phases=("propose", "apply"),
            needs=frozenset({"network", "credentials"}),
            environment="required",
            outside="what CloudFormation has begun goes on there, and `towpath resume` follows it to its end",
            by_command=True,
        ),
        Kind(
            "delete",
            "Delete the environment's stack: propose what goes and what stays, then delete just that.",
            options=(
                Option(
                    "images",
                    "boolean",
                    "Whether the images go too that its functions run and nothing else does: no function of the account in the "
                    "region, in any version, and nobody of another account.",
                    default=False,
                ),
                Option(
                    "also", "strings", "Further images that go if nothing uses them, by digest: what it ran before."
                ),
                Option(
                    "keep", "strings", "Images that stay, by digest: what deployments elsewhere use, or may go back to."
                ),
                Option(
                    "retain",
                    "strings",
                    "Resources to let go of, by logical id: only of a stack whose deletion has failed.",
                    flag="retain-resources",
                ),
            ),
            phases=("propose", "apply"),
            needs=frozenset({"network", "credentials"}),
            environment="required",
            outside="what CloudFormation has begun to delete goes on there, and `towpath resume` follows it to its end",
            by_command=True,
        ),
        Kind(
            "invoke",
            "Call deployed functions and endpoints, and compare the answers with what is expected.",
            options=(
                Option(
                    "requests",
                    "file",
                    "The calls to make and what to expect of them.",
                    required=True,
                    names_files=("event-file",),
                ),
            ),
            inputs=("deployment",),
            phases=("check", "apply"),
            needs=frozenset({"network", "credentials"}),
            environment="required",
            idempotent=False,
        ),
        Kind(
            "command",
            "Run a program of your own.",
            options=(
                Option("run", "strings", "The program and its arguments; it is not passed to a shell.", required=True),
                Option("variables", "map", "Environment variables for it."),
                Option("outputs", "strings", "Artifacts it writes, each a folder `$TOWPATH_OUTPUTS/<name>/`."),
                Option(
                    "inputs",
                    "strings",
                    "Artifacts of earlier stages it reads, each a folder `$TOWPATH_INPUTS/<name>/`.",
                ),
                Option(
                    "image",
                    "image",
                    "An image, by digest, in a container of which it runs; without one it is a process of this machine.",
                ),
                Option(
                    "writes",
                    "paths",
                    "Files and folders of the project that it may change, `.` for all of it; what is not there becomes a folder. The rest it may only read, where it can be kept from more, and `.git` always.",
                ),
                Option(
                    "network",
                    "boolean",
                    "Whether it may use the network, where it can be kept from it; it may if this is not said.",
                ),
            ),
            needs=frozenset({"source", "network"}),
            environment="optional",
            idempotent=False,
            secrets=True,
        ),
    )
}

IN_PIPELINES: dict[str, Kind] = {name: kind for name, kind in KINDS.items() if not kind.by_command}
"""Those that `uses:` may name."""

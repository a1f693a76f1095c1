"""Every limit, in one place, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on what Towpath reads, keeps and waits for."""

    yaml_bytes: int = 1_048_576
    """A definition, an include or a template. CloudFormation takes templates of at most 1 MiB."""
    yaml_depth: int = 64
    """Levels of nesting: the deepest real template is below 30; a parser's stack ends at some hundreds."""
    yaml_nodes: int = 200_000
    """Nodes with every alias counted as often as it is used: what a bomb multiplies."""
    nested_depth: int = 16
    """Templates within templates. CloudFormation states no limit; people stay below five."""
    nested_stacks: int = 500
    nested_bytes: int = 16 * 1024**2
    """Of all templates of an application, each counted as often as it is nested: what a nest of nests multiplies."""
    include_depth: int = 8
    """Includes within includes: more is a mistake."""
    log_line_bytes: int = 65_536
    """A longer line is cut in pieces, so that one line cannot fill the memory."""
    log_segment_bytes: int = 1_048_576
    log_segment_s: float = 5.0
    """A segment of a log is stored when it is this large or this old: what a killed runner may lose of a log."""
    output_files: int = 100_000
    """Of an artifact; folders count as well."""
    output_depth: int = 64
    """Folders within folders of an artifact: what a program that nests without end would have us follow."""
    output_bytes: int = 20 * 1024**3
    """Ten times what Lambda takes as an image (10 GB), for a pair of functions: a runaway stage must not fill the disk."""
    lambda_image_bytes: int = 10 * 1024**3
    """Lambda's limit for an image with all its layers, uncompressed."""
    template_body_bytes: int = 51_200
    """CloudFormation's limit for TemplateBody; above it a template goes through S3."""
    stage_timeout_s: int = 3_600
    """Unless the definition says otherwise."""
    stage_file_bytes: int = 20 * 1024**3
    """One file of a stage: as large as all its outputs may be."""
    stage_open_files: int = 16_384
    """Of one process: a JVM or a bundler keeps some thousands open; a leak must not use up what the machine has."""
    stage_processes: int = 4_096
    """Processes and threads of a stage in a sandbox: a parallel build has some hundreds, a fork bomb has no end. Not for root,
    whom the kernel never counts."""
    container_memory_bytes: int = 4 * 1024**3
    """Of a stage in a container: half of what the smallest machines of CI systems have."""
    folder_files: int = 10_000
    folder_bytes: int = 512 * 1024**2
    """Of a folder that an option names, such as advisories: all of OSV's for Debian, PyPI and npm, zipped, are below it."""
    scan_entries: int = 1_000_000
    """Files in all layers of all images of a stage; an image of Lambda's has some tens of thousands."""
    scan_content_bytes: int = 40 * 1024**3
    """Bytes of all layers, decompressed: four images of the largest size that Lambda takes (10 GB)."""
    scan_kept_bytes: int = 512 * 1024**2
    """Bytes of package databases kept in memory."""
    scan_file_bytes: int = 16 * 1024**2
    """One package's metadata, or a database in text: a desktop's dpkg status has 5 MB."""
    scan_database_bytes: int = 256 * 1024**2
    """A database of rpm: an Amazon Linux 2023 has 10 MB."""
    advisory_bytes: int = 16 * 1024**2
    """One advisory: the largest of OSV's have about 1 MB."""
    advisories_bytes: int = 8 * 1024**3
    """All advisories, decompressed: what a bomb in a zip multiplies."""
    runs_named: int = 5
    """Runs before it that a run's opening names: as many as may be opened at the same time without seeing one another."""
    reused_runs: int = 20
    """Runs that are looked at for something to reuse: it is nearly always the last one, and a store may hold thousands."""
    reused_bytes: int = 16 * 1024**2
    """A file that is reused: an images.json of 500 functions has below 1 MB."""
    read_bytes: int = 512 * 1024**2
    """An object of a record that is read as a whole: as large as the largest file that a stage's options name."""
    rollbacks: int = 10
    """Deployments of each target before the current one whose content no prune removes: people go back one or two."""
    prune_grace_s: float = 86_400.0
    """Content that was put within a day is left alone: it may be of an attempt that has not named it yet."""
    pruned_at_once: int = 10_000
    """Contents that one record of a prune lists, before it removes them: below 2 MB of JSON."""
    bundle_objects: int = 2_000_000
    """Of a bundle: ten thousand runs with two hundred objects each."""
    bundle_bytes: int = 1024**4
    """Of all objects of a bundle: fifty runs with the largest outputs that are collected."""
    bundled_bytes: int = 64 * 1024**2
    """Of an object of a bundle that is no content: an event holds a proposal at most, a segment of a log 1 MiB."""
    secret_bytes: int = 65_536
    """What Secrets Manager holds at most; one variable of a process may have 128 KiB."""
    event_bytes: int = 6 * 1024**2
    """Of an event in a file of its own: Lambda's limit for a synchronous invocation."""
    grace_s: float = 5.0
    """Between asking a stage to end and ending it: CI systems give about ten seconds in all."""
    source_look_s: float = 1.0
    """For which a look at the project's commit counts: whoever edits later than that is noticed at the next stage."""
    cancel_look_s: float = 1.0
    """Between two looks whether somebody asked to stop the run: one request of a store in a bucket."""
    renew_s: float = 1_200.0
    """Credentials that expire sooner are renewed: AWS's SDKs ask for others a quarter of an hour before."""
    drift_s: float = 300.0
    """CloudFormation's drift detection: some seconds for a small stack, minutes for one of hundreds of resources."""
    drift_ask_s: float = 900.0
    """All that is asked to find drift: twice the time of a detection, for a stack of hundreds of functions."""
    notify_s: float = 5.0
    """One try to tell somebody of something: who does not answer in that time keeps a deployment waiting."""
    notify_tries: int = 3
    notify_old_s: float = 86_400.0
    """What happened longer ago is news to nobody: a record that was carried elsewhere tells it to no one again."""
    check_ask_s: float = 120.0
    """Whether a release could be deployed: a call for each hundred images of a repository, and one for each file in S3."""
    cancel_s: float = 15.0
    """Until who asked to stop gives up waiting: a look, the grace, and what it takes to write that down."""


LIMITS = Limits()

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
    include_depth: int = 8
    """Includes within includes: more is a mistake."""
    log_line_bytes: int = 65_536
    """A longer line is cut in pieces, so that one line cannot fill the memory."""
    log_segment_bytes: int = 1_048_576
    log_segment_s: float = 5.0
    """A segment of a log is stored when it is this large or this old: what a killed runner may lose of a log."""
    output_files: int = 100_000
    output_bytes: int = 20 * 1024**3
    """Ten times what Lambda takes as an image (10 GB), for a pair of functions: a runaway stage must not fill the disk."""
    template_body_bytes: int = 51_200
    """CloudFormation's limit for TemplateBody; above it a template goes through S3."""
    stage_timeout_s: int = 3_600
    """Unless the definition says otherwise."""
    grace_s: float = 5.0
    """Between asking a stage to end and ending it: CI systems give about ten seconds in all."""


LIMITS = Limits()

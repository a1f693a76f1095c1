"""Compile a definition and its parameters to a frozen Plan. Format version 1 (docs/adr/0004).

A plan holds everything that decides what a run does, and nothing of where or when it runs: nothing below this module
knows YAML, environments or expressions. Its digest names it. Files that stages name are part of it by digest.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.definition import expressions
from pipeline.errors import InvalidDefinition, VerificationFailed
from pipeline.record import digest
from stages.contract import Problem, Target
from stages.kinds import KINDS
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.definition import Definition

VERSION = 1

"""SAM and CloudFormation templates: load an application, find its image functions, splice values into its templates."""

from stages.template.append import appended, node_text
from stages.template.application import Application, Reader, Stack, Unreadable, assemble, load
from stages.template.artifacts import Artifact, artifacts
from stages.template.functions import BuiltImage, Function, Image
from stages.template.packaged import innermost_first, packaged
from stages.template.references import Reference
from stages.template.resources import Slot, find
from stages.template.splice import Value, splice
from stages.template.tree import Template, read

__all__ = [
    "Application",
    "Artifact",
    "BuiltImage",
    "Function",
    "Image",
    "Reader",
    "Reference",
    "Slot",
    "Stack",
    "Template",
    "Unreadable",
    "Value",
    "appended",
    "artifacts",
    "assemble",
    "find",
    "innermost_first",
    "load",
    "node_text",
    "packaged",
    "read",
    "splice",
]

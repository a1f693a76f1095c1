"""SAM and CloudFormation templates: read one, find its image functions, splice image URIs into it."""

from stages.template.functions import Function, functions, image_slot
from stages.template.splice import splice
from stages.template.tree import Template, read

__all__ = ["Function", "Template", "functions", "image_slot", "read", "splice"]

"""The hook's function: CloudFormation asks it before it makes or changes a Lambda function. Standard library only; its text is in a template.

A failure of its own refuses as well: what could not be looked at is not let through.
https://docs.aws.amazon.com/cloudformation-cli/latest/hooks-userguide/lambda-hooks-create-lambda-function.html
"""

from pathlib import Path

SOURCE = Path(__file__).with_name("hook_function.py").read_text(encoding="utf-8")
"""What runs in Lambda, as it is."""

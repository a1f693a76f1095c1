"""Deploy a release as a CloudFormation stack: propose a change set, then execute just that one."""

from stages.deploy.applying import apply
from stages.deploy.proposing import propose

__all__ = ["apply", "propose"]

"""Free a stack that is stuck: propose what leads out of its state, then do just that."""

from stages.recover.applying import apply
from stages.recover.proposing import propose

__all__ = ["apply", "propose"]

"""Delete a stack: propose what goes and what stays, then delete just that, and on wish the images that nothing else uses."""

from stages.delete.applying import apply
from stages.delete.proposing import propose

__all__ = ["apply", "propose"]

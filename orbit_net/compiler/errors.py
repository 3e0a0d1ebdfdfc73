"""The one exception of the compiler."""

from orbit_net.errors import OrbitError

__all__ = ["CompileError"]


class CompileError(OrbitError):
    """A ``.proto`` file, an option or a missing tool stops the generator; nothing was written. The text says which."""

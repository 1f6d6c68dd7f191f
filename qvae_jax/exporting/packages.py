"""Packages that only exporting needs."""

import importlib

from qvae_jax.system.command import install
from qvae_jax.system.errors import UserError


def require(package: str, does: str) -> None:
    """Raises UserError, which says how to install it, where a package is missing."""
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"The package {package}, which {does}, is not installed: run `{install('export')}`."
        ) from error

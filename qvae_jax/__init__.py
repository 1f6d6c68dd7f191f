"""A variational autoencoder that turns vocal imitations into synthesised audio, in JAX."""

import logging
import os


def load(path: str | os.PathLike):
    """The model of a training run's workdir, of a ported QVAE's folder, or of exported graphs.

    Or of a folder that --mode=export wrote, and hf://OWNER/NAME of one on the Hugging Face Hub.

    >>> import numpy as np, qvae_jax
    >>> model = qvae_jax.load("runs/first")
    >>> imitation = np.sin(np.arange(44_100) / 20)  # one second at 44,100 Hz
    >>> audio = model.generate(imitation, sample_rate_hz=44_100)
    >>> audio.shape, audio.dtype, model.sample_rate_hz
    ((59049,), dtype('float32'), 22050)

    Gives a qvae_jax.generation.model.Model, whose other methods are posterior and decode; of graphs a
    qvae_jax.exporting.reading.ExportedModel, which is a function. Raises UserError where the folder
    holds no model.
    """
    # Orbax warns through this logger that a folder is opened only to be read.
    absl_logger = logging.getLogger("absl")
    was_disabled, absl_logger.disabled = absl_logger.disabled, True
    try:
        # Not at the top, so that importing the package does not take JAX's seconds.
        from qvae_jax.exporting import reading
        from qvae_jax.generation.model import load

        path = os.path.expanduser(path)
        return reading.load(path) if reading.is_exported(path) else load(path)
    finally:
        absl_logger.disabled = was_disabled

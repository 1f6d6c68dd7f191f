"""Small batches to take steps on: log-mels or features, and targets of the reduced decoder."""

import numpy as np

import golden_rules
from filled import REDUCED_SAMPLES
from qvae_jax.audio.logmel import FrontEnd

TARGETS = golden_rules.signals(3, REDUCED_SAMPLES, 22_050, 8)
BATCH = {
    "inputs": np.random.default_rng(0).standard_normal((3, 32, 40)).astype(np.float32),
    "targets": TARGETS,
}
FEATURE_BATCH = {
    "inputs": np.random.default_rng(0).standard_normal((3, 96)).astype(np.float32),
    "targets": TARGETS,
}
# Features from layer 4: twelve layers fewer to compile. The front-end is that of BATCH's inputs.
SHALLOW = dict(feature_space="4", front_end=FrontEnd(duration_s=0.4, num_mels=32))

"""Augmentations put together: nothing where nothing is asked, and one a row where one is chosen."""

import jax
import numpy as np
import pytest

from configs import qvim, qvim_folds
from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.audio.logmel import log_mel
from qvae_jax.training.varied_sounds import ONE_OF, Augmentation, varied_log_mels

FRONT_END = FrontEnd(duration_s=0.2, num_mels=16)
WAVEFORMS = np.random.default_rng(0).standard_normal((5, FRONT_END.num_samples)).astype(np.float32)
KEY = jax.random.key(0)


def test_without_augmentations_log_mels_are_the_front_ends():
    found = varied_log_mels(KEY, WAVEFORMS, None, Augmentation(), FRONT_END)
    np.testing.assert_array_equal(found, log_mel(WAVEFORMS, FRONT_END))


def test_a_row_gets_its_chosen_one_alone():
    settings = Augmentation(at_most_one=True, gain_db=10.0, frequency_mask_mels=8)
    chosen = np.int32([-1, ONE_OF.index("gain"), ONE_OF.index("frequency_mask"), -1, -1])
    plain = log_mel(WAVEFORMS, FRONT_END)
    found = varied_log_mels(KEY, WAVEFORMS, chosen, settings, FRONT_END)
    differs = np.abs(np.asarray(found - plain)) > 1e-6
    assert differs.any(axis=(1, 2)).tolist() == [False, True, True, False, False]
    assert differs[1].mean() > 0.9  # all of a louder sound
    assert 0 < differs[2].any(axis=1).sum() < 8


@pytest.mark.parametrize(
    ("config", "used", "on_host"),
    [
        (qvim, ONE_OF, ("pitch", "stretch")),
        (qvim_folds, ("roll", "frequency_mask", "time_mask"), ()),
    ],
)
def test_what_the_configs_use(config, used, on_host):
    settings = Augmentation.of(config.get_config())
    assert settings.used == used and settings.on_host == on_host

"""Samples: which are shown, and that each is its own imitation's, in batches of any size."""

import numpy as np
import pytest
import soundfile

import steered_model
from plain_model import PlainModel
from qvae_jax.audio.files import write_wav
from qvae_jax.generation.inputs import Source
from qvae_jax.system.errors import UserError
from qvae_jax.visualisation import samples


@pytest.mark.parametrize(
    ("length", "count", "expected"),
    [
        (10, 3, [0, 4, 9]),
        (9, 3, [0, 4, 8]),
        (3, 8, [0, 1, 2]),
        (3, 3, [0, 1, 2]),
        (5, 1, [0]),
        (1, 2, [0]),
    ],
)
def test_samples_are_spread_over_a_part(length, count, expected):
    assert samples.spread(range(length), count) == expected


@pytest.fixture
def sources(tmp_path) -> list[Source]:
    """Ten constant imitations of half a second, each louder, of one reference."""
    reference = tmp_path / "reference.wav"
    soundfile.write(reference, np.full(22_050, 0.25), 22_050, subtype="FLOAT")
    found = []
    for number in range(10):
        path = tmp_path / f"{number}.wav"
        write_wav(path, np.full(16_000, 0.05 * (number + 1)), 32_000)
        found.append(Source(path, str(path), path.stem, reference))
    return found


def test_each_sample_is_of_its_own_imitation(sources):
    found = list(samples.samples(PlainModel(), "train", sources))
    assert [sample.source for sample in found] == sources
    for number, sample in enumerate(found, start=1):
        level = 0.05 * number
        assert len(sample.imitation) == 11_025
        np.testing.assert_allclose(sample.imitation[1000:-1000], level, atol=1e-3)
        np.testing.assert_array_equal(sample.reference[:22_050], np.float32(0.25))
        assert not sample.reference[22_050:].any() and len(sample.reference) == 59_049
        # Half a second is a twentieth of what the model hears.
        np.testing.assert_allclose(sample.generated, level / 20, rtol=1e-4)
        assert sample.heard.file_duration_s == 0.5


def test_no_more_is_made_than_is_looked_at(sources):
    class CountingModel(PlainModel):
        num_decoded = 0

        def decode(self, z, **how):
            self.num_decoded += len(z)
            return super().decode(z, **how)

    model = CountingModel()
    next(iter(samples.samples(model, "train", sources)))
    assert model.num_decoded == 8


def test_the_model_is_told_what_each_row_is_made_of(sources):
    class SpoiltModel(PlainModel):
        def posterior(self, waveforms, *, names, **how):
            raise UserError(f"not finite of {names[2]}")

    with pytest.raises(UserError, match="not finite of .*2.wav"):
        list(samples.samples(SpoiltModel(), "train", sources))


def test_a_steered_models_sound_follows_what_was_heard(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "BATCH_SIZE", 1)
    model = steered_model.model()
    hum = 0.3 * np.sin(np.arange(16_000) / 20)
    write_wav(tmp_path / "a.wav", hum, 32_000)
    write_wav(tmp_path / "b.wav", np.tile(hum, 9), 32_000)  # of which a second is heard
    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    sources = [Source(path, str(path), path.stem, path) for path in paths]
    short, long = samples.samples(model, "train", sources)
    assert len(short.generated) == len(long.generated) == 59_049
    for found, duration_s in ((short, 0.5), (long, 1.0)):
        assert len(found.steered) / 22_050 == pytest.approx(duration_s, abs=0.03)
    assert np.abs(short.steered).max() > 0.01

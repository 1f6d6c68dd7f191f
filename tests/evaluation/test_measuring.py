"""Measuring: numbers are those of the sounds, in batches of any size, and of each pair alone."""

import jax
import numpy as np
import pytest

from qvae_jax import losses
from qvae_jax.audio.files import read_audio, write_wav
from qvae_jax.data import layouts
from qvae_jax.data.prepared import target_audio
from qvae_jax.evaluation import embedding, measuring, metrics, statistics
from qvae_jax.evaluation.measuring import Statistic, sound_class
from qvae_jax.evaluation.systems import Example
from qvae_jax.generation.model import load_model
from qvae_jax.runs import open_run


def test_an_example_is_where_the_index_says(data_set):
    index = layouts.read_index(data_set)
    first = measuring.examples_of(index, index.pairs)[0]
    name = "sound 0, a_tone"
    assert first == Example(
        data_set / "vocal_imitations" / f"00000_{name}.wav",
        data_set / "references" / f"000_{name}.wav",
        name,
    )


def test_the_models_numbers_are_those_of_its_sounds(frozen_run):
    model = load_model(workdir=str(frozen_run))
    run = open_run(frozen_run)
    examples = measuring.examples_of(run.index, run.pairs("interpolation"))
    embedder = embedding.load_embedder(None, model)
    training = sorted({example.reference for example in examples})
    measured = measuring.measure(model, embedder, examples, training, name="interpolation")
    assert (measured["part"], measured["num_pairs"]) == ("interpolation", 3)
    value = lambda name: measured["systems"]["model"][name]["value"]
    imitations = [read_audio(e.imitation, 32_000, max_duration_s=1.0) for e in examples]
    waveforms = np.stack([np.pad(x, (0, 32_000 - len(x))) for x in imitations])
    mu, logvar = model.posterior(np.pad(waveforms, ((0, 5), (0, 0))))
    sounds = model.decode(mu)[:3]
    targets = np.stack([target_audio(e.reference) for e in examples])
    distances = [metrics.multi_resolution_stft(p, t) for p, t in zip(sounds, targets)]
    found = value("multi_resolution_stft")
    assert found == pytest.approx(np.mean(distances), rel=1e-4)
    found = value("waveform")
    assert found == pytest.approx(np.abs(sounds - targets).mean(), rel=1e-4)
    kl = 0.5 * np.sum(np.exp(logvar) + mu**2 - 1 - logvar, axis=1)[:3]
    assert value("kl") == pytest.approx(kl.mean(), rel=1e-4, abs=1e-6)


def test_the_loss_of_a_pair_is_that_of_a_batch_of_one():
    rng = np.random.default_rng(0)
    sounds, targets = (0.1 * rng.standard_normal((2, 2, 59_049))).astype(np.float32)
    pair = (list(map(metrics.Sound, sounds)), list(map(metrics.Sound, targets)))
    found = measuring._scores(*pair, losses.LossWeights())
    zero = np.zeros((1, 1), np.float32)
    loss = jax.jit(lambda p, t: losses.qvae_loss(p, t, zero, zero, beta=0.0))
    for i in range(2):
        total, terms = loss(sounds[i : i + 1], targets[i : i + 1])
        assert found["audio_loss"][i] == pytest.approx(float(total), rel=1e-5)
        for name in ("spectral", "mel", "waveform"):
            assert found[name][i] == pytest.approx(float(terms[name]), rel=1e-5)


def test_the_originals_loss_is_told_whatever_was_minimised():
    rng = np.random.default_rng(0)
    sounds, targets = (0.1 * rng.standard_normal((2, 1, 59_049))).astype(np.float32)
    pair = (list(map(metrics.Sound, sounds)), list(map(metrics.Sound, targets)))
    as_original = measuring._scores(*pair, losses.LossWeights())
    assert as_original["original_loss"] == as_original["audio_loss"]
    weights = losses.LossWeights(spectral=0, mel=0, waveform=0, magnitude=2.0)
    found = measuring._scores(*pair, weights)
    assert found["original_loss"] == as_original["original_loss"]
    assert found["mel"] == as_original["mel"]
    assert found["audio_loss"] == pytest.approx([2 * found["magnitude"][0]])


def test_without_a_run_there_is_no_nearest_training_reference(frozen_run, tmp_path):
    for part in ("references", "vocal_imitations"):
        (tmp_path / part).mkdir()
        write_wav(tmp_path / part / "1_quiet.wav", np.zeros(8_000), 16_000)
        write_wav(tmp_path / part / "2_loud.wav", 0.1 * np.ones(8_000), 16_000)
    model = load_model(workdir=str(frozen_run))
    index = layouts.read_index(tmp_path)
    examples = measuring.examples_of(index, index.pairs)
    embedder = embedding.load_embedder(None, model)
    found = measuring.measure(model, embedder, examples, [])
    assert list(found["systems"]) == [
        "model",
        "silence",
        "mean spectrum",
        "imitation itself",
        "oracle",
    ]
    assert found["baselines_from"] == "the measured references"
    distances = [found["systems"][s]["log_spectral_distance"]["value"] for s in found["systems"]]
    assert np.isfinite(distances).all(), "a silent reference has a spectrum too"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("004Animal_Domestic animals_pets_Dog_Bark", "Animal_Domestic animals"),
        ("296Source_ambiguous sounds_Generic impact sounds_Whip", "Source_ambiguous sounds"),
        ("075-flute_playing-everyday", "everyday"),
        ("042-clave-acoustic_instruments", "acoustic_instruments"),
        ("sound 0, a_tone", "sound 0, a_tone"),
        ("bark", "bark"),
        ("bark v1.5", "bark v1.5"),
    ],
)
def test_the_class_of_a_sound_is_told_by_its_name(key, expected):
    assert sound_class(key) == expected


def test_silence_wins_where_it_is_better_beyond_doubt():
    rng = np.random.default_rng(0)
    levels = rng.standard_normal(30)  # far more apart than silence and model are
    noise = 0.1 * rng.standard_normal(30)
    frames = np.full(30, 7)
    means = {
        "mel": (levels - 0.2 + noise, levels),
        "waveform": (levels - 0.01 + noise, levels),
        "spectral": (levels + 0.2 + noise, levels),
        "mrr": (levels + 0.2 + noise, levels),
        "ndcg": (levels - 0.2 + noise, levels),
        "kl": (levels - 0.2 + noise, levels),
    }
    both = [
        {
            **{
                name: Statistic(statistics.mean(values[side]), statistics.of_resamples)
                for name, values in means.items()
            },
            "pitch_difference": Statistic(
                statistics.pooled_mean(7 * means["mel"][side], frames), statistics.of_resamples
            ),
            "frechet_distance": Statistic(statistics.mean(means["mel"][side]), statistics.of_set),
        }
        for side in (0, 1)
    ]
    wins = measuring.silence_wins(*both, 30)
    assert wins == ["mel", "mrr", "pitch_difference", "frechet_distance"]
    few = [
        {"mel": Statistic(statistics.mean(values[:1]), statistics.of_resamples)}
        for values in means["mel"]
    ]
    assert measuring.silence_wins(*few, 1) == []

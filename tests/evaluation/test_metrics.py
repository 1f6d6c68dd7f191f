"""The metrics: their definitions against independent implementations, and plain cases."""

import librosa
import numpy as np
import pytest
import scipy.linalg
import sklearn.metrics

from qvae_jax.evaluation import metrics

RATE_HZ = 22_050
RNG = np.random.default_rng(0)


def sound(seed: int) -> np.ndarray:
    """A second of a falling tone, noise and, at its end, silence."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(RATE_HZ) / RATE_HZ
    tone = np.sin(2 * np.pi * (300 + 200 * seed) * time_s * np.exp(-time_s)) * np.exp(-4 * time_s)
    noise = 0.1 * rng.standard_normal(RATE_HZ) * np.exp(-8 * time_s)
    return np.where(time_s < 0.8, 0.5 * tone + noise, 0.0).astype(np.float32)


SOUNDS = [sound(0), sound(1), np.zeros(RATE_HZ, np.float32)]
PAIRS = [(0, 1), (1, 0), (2, 0), (0, 0), (2, 2)]
PAIR_METRICS = {
    "multi_resolution_stft": metrics.multi_resolution_stft,
    "multi_scale_mel": lambda p, t: metrics.multi_scale_mel(p, t, RATE_HZ),
    "log_spectral_distance": metrics.log_spectral_distance,
    "onset_error_s": lambda p, t: metrics.onset_error_s(p, t, RATE_HZ),
}


@pytest.mark.parametrize("name", PAIR_METRICS)
def test_a_distance_is_zero_for_equal_sounds_alone(name):
    distance = PAIR_METRICS[name]
    for samples in SOUNDS:
        assert distance(samples, samples) == 0
    shifted = np.concatenate([np.zeros(2_000), SOUNDS[0][:-2_000]]).astype(np.float32)
    assert distance(shifted, SOUNDS[0]) > 0.05


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_the_multi_resolution_distance_is_auralosss(pair):
    torch = pytest.importorskip("torch", reason="compares with auraloss, which needs torch")
    auraloss = pytest.importorskip("auraloss", reason="compares with auraloss")
    prediction, target = (SOUNDS[i] for i in pair)
    tensors = (torch.from_numpy(x.astype(np.float64))[None, None] for x in (prediction, target))
    theirs = auraloss.freq.MultiResolutionSTFTLoss()
    for each in theirs.stft_losses:
        # In double precision as ours is; its window is a plain attribute, which double() leaves.
        each.window = torch.hann_window(each.win_length, dtype=torch.float64)
    expected = theirs(*tensors).item()
    found = metrics.multi_resolution_stft(prediction, target)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.filterwarnings("ignore:Empty filters")
def test_the_mel_distance_is_that_of_librosas_mels(pair):
    expected = 0.0
    for window, num_mels in [(32 * 2**i, 5 * 2**i) for i in range(7)]:
        mels = [
            librosa.feature.melspectrogram(
                y=SOUNDS[i].astype(np.float64),
                sr=RATE_HZ,
                n_fft=window,
                hop_length=window // 4,
                n_mels=num_mels,
                power=1.0,
                pad_mode="reflect",
            )
            for i in pair
        ]
        logs = [np.log10(np.maximum(mel, 1e-5)) for mel in mels]
        expected += np.abs(logs[0] - logs[1]).mean()
    found = metrics.multi_scale_mel(*(SOUNDS[i] for i in pair), RATE_HZ)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_the_log_spectral_distance_is_that_of_librosas_spectra(pair):
    spectra = [
        np.abs(librosa.stft(samples, n_fft=1024, hop_length=256, pad_mode="reflect"))
        for samples in (SOUNDS[i].astype(np.float64) for i in pair)
    ]
    levels = [librosa.power_to_db(s**2, ref=1.0, amin=1e-8, top_db=None) for s in spectra]
    expected = np.sqrt(np.square(levels[0] - levels[1]).mean(axis=0)).mean()
    found = metrics.log_spectral_distance(*(SOUNDS[i] for i in pair))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_centroid_and_envelope_are_librosas():
    for samples in SOUNDS:
        expected = librosa.feature.spectral_centroid(
            y=samples.astype(np.float64), sr=RATE_HZ, n_fft=1024, hop_length=256
        )[0]
        found = metrics.spectral_centroid_hz(samples, RATE_HZ)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    rms = [
        librosa.feature.rms(y=SOUNDS[i].astype(np.float64), frame_length=1024, hop_length=256)[0]
        for i in (0, 1)
    ]
    levels = 20 * np.log10(np.maximum(rms, 1e-4))
    expected = np.corrcoef(levels)[0, 1]
    assert metrics.envelope_correlation(*SOUNDS[:2]) == pytest.approx(expected, rel=1e-6)


def test_flatness_is_librosas():
    for samples in SOUNDS:
        expected = librosa.feature.spectral_flatness(
            y=samples.astype(np.float64), n_fft=1024, hop_length=256
        )[0]
        np.testing.assert_allclose(metrics.spectral_flatness(samples), expected, rtol=1e-6)


def test_a_description_tells_level_and_colour():
    time_s = np.arange(RATE_HZ) / RATE_HZ
    tone = metrics.describe(0.1 * np.sin(2 * np.pi * 2_000 * time_s), RATE_HZ)
    noise = metrics.describe(0.1 * RNG.standard_normal(RATE_HZ), RATE_HZ)
    assert tone.rms_db == pytest.approx(-23.01, abs=0.01)
    assert tone.centroid_hz == pytest.approx(2_000, rel=0.02)
    assert noise.rms_db == pytest.approx(-20, abs=0.1)
    assert noise.centroid_hz == pytest.approx(RATE_HZ / 4, rel=0.02)
    assert tone.flatness < 0.01 and noise.flatness > 0.4


def test_silence_after_a_sound_moves_its_level_alone():
    burst = 0.1 * RNG.standard_normal(RATE_HZ)
    longer = np.concatenate([burst, np.zeros(3 * RATE_HZ)])
    alone, before_silence = (metrics.describe(x, RATE_HZ) for x in (burst, longer))
    assert before_silence.rms_db == pytest.approx(alone.rms_db - 6.02, abs=0.01)
    assert before_silence.centroid_hz == pytest.approx(alone.centroid_hz, rel=0.02)
    assert before_silence.flatness == pytest.approx(alone.flatness, rel=0.05)
    assert metrics.describe(np.full(RATE_HZ, 1e-6), RATE_HZ) is None
    assert metrics.describe(np.zeros(1), RATE_HZ) is None


def test_correlations_of_equal_and_of_silent_sounds():
    loud, _, silent = SOUNDS
    for correlation in (
        metrics.envelope_correlation,
        lambda p, t: metrics.centroid_correlation(p, t, RATE_HZ),
    ):
        assert correlation(loud, loud) == pytest.approx(1)
        assert correlation(0.5 * loud, loud) > 0.9
        assert correlation(silent, loud) == correlation(loud, silent) == 0


def test_the_centroid_correlation_follows_the_pitch():
    time_s = np.arange(RATE_HZ) / RATE_HZ
    rising, falling = (
        np.sin(2 * np.pi * (2_000 * time_s + slope * time_s**2)) for slope in (700, -700)
    )
    assert metrics.centroid_correlation(0.3 * rising, rising, RATE_HZ) > 0.99
    assert metrics.centroid_correlation(falling, rising, RATE_HZ) < -0.9


@pytest.mark.parametrize("delay", [0, 100, 5_000])
def test_an_onset_is_found_where_the_sound_begins(delay):
    burst = np.zeros(20_000)
    burst[delay:] = 0.2
    assert metrics.onset_s(burst, 10_000) == delay / 10_000
    assert metrics.onset_error_s(burst, np.full(20_000, 0.5), 10_000) == delay / 10_000
    assert metrics.onset_error_s(np.zeros(20_000), burst, 10_000) == pytest.approx(2 - delay / 1e4)


@pytest.mark.parametrize(("n", "m", "d"), [(50, 70, 8), (6, 9, 20), (2, 2, 3)])
def test_the_frechet_distance_is_that_of_scipys_square_root(n, m, d):
    a = RNG.standard_normal((n, d)) @ RNG.standard_normal((d, d))
    b = RNG.standard_normal((m, d)) + 0.5
    covariances = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    shift = a.mean(axis=0) - b.mean(axis=0)
    expected = shift @ shift + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-4)
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-9 * np.trace(covariances[0]))


def test_the_kernel_distance_is_the_sum_over_pairs():
    a, b = RNG.standard_normal((7, 3)), RNG.standard_normal((5, 3)) + 1
    distances = [np.linalg.norm(b[i] - b[j]) for i in range(5) for j in range(i)]
    gamma = 1 / (2 * np.median(distances) ** 2)
    kernel = lambda x, y: sklearn.metrics.pairwise.rbf_kernel(x, y, gamma)
    within = lambda x: (
        sum(kernel(x, x)[i, j] for i in range(len(x)) for j in range(len(x)) if i != j)
        / (len(x) * (len(x) - 1))
    )
    expected = 100 * (within(a) + within(b) - 2 * kernel(a, b).mean())
    assert metrics.kernel_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_the_kernel_distance_is_unbiased():
    draws = [
        metrics.kernel_distance(*np.random.default_rng(i).standard_normal((2, 20, 4)))
        for i in range(300)
    ]
    standard_error = np.std(draws) / np.sqrt(len(draws))
    assert abs(np.mean(draws)) < 3 * standard_error, "equal distributions lie 0 apart on average"


def test_sets_too_small_for_a_distance():
    one, some = np.ones((1, 4)), RNG.standard_normal((5, 4))
    for distance in (metrics.frechet_distance, metrics.kernel_distance):
        assert np.isnan(distance(one, some)) and np.isnan(distance(some, one))
    assert np.isnan(metrics.kernel_distance(some, np.ones((5, 4))))


def test_ranks_and_gains_are_scikit_learns():
    similarity = RNG.standard_normal((30, 12))
    right = RNG.integers(0, 12, 30)
    one_hot = np.eye(12, dtype=bool)[right]
    expected = sklearn.metrics.label_ranking_average_precision_score(one_hot, similarity)
    assert metrics.reciprocal_ranks(similarity, right).mean() == pytest.approx(expected)
    relevant = RNG.random((30, 12)) < 0.3
    relevant[:, 0] = True
    expected = sklearn.metrics.ndcg_score(relevant.astype(float), similarity)
    assert metrics.ndcg(similarity, relevant).mean() == pytest.approx(expected)
    assert metrics.ndcg(similarity[:1], np.zeros((1, 12), bool)) == 0


def test_cosines_are_scikit_learns():
    a, b = RNG.standard_normal((4, 6)), RNG.standard_normal((5, 6))
    expected = sklearn.metrics.pairwise.cosine_similarity(a, b)
    np.testing.assert_allclose(metrics.cosine_similarity(a, b), expected)
    assert not metrics.cosine_similarity(0 * a, b).any()


def test_diversity_counts_outputs_for_different_sounds_alone():
    east, north = [1.0, 0.0], [0.0, 1.0]
    sounds = np.array([0, 0, 1])
    assert metrics.diversity(np.array([east, north, east]), sounds) == pytest.approx(0.5)
    assert metrics.diversity(np.array([east, east, east]), sounds) == pytest.approx(0)
    assert np.isnan(metrics.diversity(np.array([east, north]), np.array([3, 3])))


def test_a_dimension_is_active_where_means_vary():
    mu = RNG.standard_normal((1000, 3)) * [1.0, 0.2, 0.05]
    assert metrics.active_dimensions(mu) == 2
    assert metrics.active_dimensions(np.ones((5, 4))) == 0


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_sounds_whose_spectra_are_known_give_the_same_numbers(pair, monkeypatch):
    prediction, target = (SOUNDS[i] for i in pair)
    measured = {
        **PAIR_METRICS,
        "envelope_correlation": metrics.envelope_correlation,
        "centroid_correlation": lambda p, t: metrics.centroid_correlation(p, t, RATE_HZ),
    }
    known = metrics.Sound(prediction), metrics.Sound(target)
    first = {name: metric(*known) for name, metric in measured.items()}
    assert first == {name: metric(prediction, target) for name, metric in measured.items()}
    monkeypatch.setattr(metrics, "_power", None)  # from here on nothing is computed anew
    assert {name: metric(*known) for name, metric in measured.items()} == first

"""The mel banks against the golden ones, and what any triangular bank must fulfil."""

import numpy as np
import pytest

import golden_rules
from qvae_jax.audio import mel

# The originals compute the edges in float32, which alone moves a weight by about 1e-5.
TOLERANCE = 2e-5

KALDI_MEL = lambda hz: 1127.0 * np.log(1 + hz / 700.0)
# Kaldi's triangles are straight in mel, HTK's in Hz; below, an axis along which a bank is straight.
BANKS = [
    (mel.kaldi_mel_bank, (128, 1024, 32_000, 0.0, 15_000.0), KALDI_MEL),
    (mel.kaldi_mel_bank, (40, 2048, 16_000, 50.0, 7_000.0), KALDI_MEL),
    (mel.htk_mel_bank, (80, 1024, 22_050, 0.0, 11_025.0), None),
    (mel.htk_mel_bank, (64, 2048, 32_000, 100.0, 12_000.0), None),
]


@pytest.fixture(scope="module")
def golden():
    return golden_rules.load("mel_filterbanks")


def test_kaldi_bank_equals_golden(golden):
    bank = mel.kaldi_mel_bank(128, 1024, 32_000, 0.0, 15_000.0)
    assert bank.shape == (513, 128)
    expected = golden["kaldi_128_32000_1024_0_15000"].T
    np.testing.assert_allclose(bank[:512], expected, rtol=0, atol=TOLERANCE)


def test_kaldi_bank_leaves_out_the_nyquist_bin():
    # Even with triangles up to the Nyquist frequency and beyond.
    assert not mel.kaldi_mel_bank(128, 1024, 32_000, 0.0, 17_000.0)[512].any()


@pytest.mark.parametrize("window", [1024, 2048])
def test_htk_bank_equals_golden(golden, window):
    bank = mel.htk_mel_bank(80, window, 22_050, 0.0, 11_025.0)
    expected = golden[f"htk_80_22050_{window}"]
    np.testing.assert_allclose(bank, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("make", "arguments", "axis"), BANKS)
def test_weights_lie_between_zero_and_one_and_inside_the_band(make, arguments, axis):
    bank, hz = _bank_and_frequencies(make, arguments)
    _, _, _, low_hz, high_hz = arguments
    assert bank.dtype == np.float32
    assert bank.min() == 0.0
    assert 0.9 < bank.max() <= 1.0
    # Rounding may leave a trace in a bin that lies exactly on an edge.
    assert bank[(hz <= low_hz) | (hz >= high_hz)].max() < 1e-12


@pytest.mark.parametrize(("make", "arguments", "axis"), BANKS)
def test_neighbouring_triangles_add_up_to_one(make, arguments, axis):
    # Where one triangle falls the next rises, from the first centre to the last.
    bank, hz = _bank_and_frequencies(make, arguments)
    strongest = bank.argmax(0)
    inside = slice(strongest[0] + 1, strongest[-1])
    np.testing.assert_allclose(bank[inside].sum(1), 1.0, atol=1e-6)


@pytest.mark.parametrize(("make", "arguments", "axis"), BANKS)
def test_each_band_rises_to_its_centre_in_a_straight_line(make, arguments, axis):
    bank, hz = _bank_and_frequencies(make, arguments)
    band = bank[:, -1]
    rising = np.flatnonzero((band > 0) & (np.arange(len(band)) < band.argmax()))
    assert len(rising) > 5
    positions = (axis or (lambda f: f))(hz[rising])
    slopes = np.diff(band[rising]) / np.diff(positions)
    np.testing.assert_allclose(slopes, slopes[0], rtol=1e-4)


def test_bands_that_add_up_to_one_are_kaldis_but_for_their_level():
    bank = mel.unit_sum_mel_bank(96, 2048, 44_100, 0.0, 22_050.0)
    np.testing.assert_allclose(bank.sum(axis=0), 1.0, atol=1e-6)
    kaldi = mel.kaldi_mel_bank(96, 2048, 44_100, 0.0, 22_050.0)
    np.testing.assert_allclose(bank, kaldi / kaldi.sum(axis=0), atol=1e-7)
    with pytest.raises(ValueError, match="200 mel bands are too many for 512 samples"):
        mel.unit_sum_mel_bank(200, 512, 44_100, 0.0, 22_050.0)


def _bank_and_frequencies(make, arguments):
    _, n_fft, sample_rate_hz, _, _ = arguments
    return make(*arguments), np.arange(n_fft // 2 + 1) * sample_rate_hz / n_fft

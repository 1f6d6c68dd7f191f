"""Pictures of sounds: what they hold, and that no sound or name breaks them."""

import itertools
import warnings

import librosa
import numpy as np
import pytest
from matplotlib import image, rc_context

from qvae_jax.system.errors import UserError
from qvae_jax.visualisation import figures
from qvae_jax.visualisation.figures import Sound, mel_spectrogram_db

RATE_HZ = 22_050


def tone(frequency_hz: float, num_samples: int = RATE_HZ, rate_hz: int = RATE_HZ) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * np.arange(num_samples) / rate_hz).astype(np.float32)


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """A function from a way of drawing and its arguments to the axes of the figure, laid out."""

    def draw(save, *arguments) -> list:
        figures_drawn = []
        monkeypatch.setattr(figures, "_save", lambda figure, path: figures_drawn.append(figure))
        save(tmp_path / "picture.png", *arguments)
        [figure] = figures_drawn
        figure.canvas.draw()
        return figure.axes

    return draw


def sounds(*durations_s: float) -> list[Sound]:
    return [Sound(tone(440, int(RATE_HZ * s)), RATE_HZ, f"sound of {s} s") for s in durations_s]


def saved(tmp_path, rows, title="title") -> np.ndarray:
    """The picture's pixels, [height, width, RGBA]."""
    path = tmp_path / "picture.png"
    figures.save_comparison(path, rows, title)
    return image.imread(path)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100])
@pytest.mark.parametrize("frequency_hz", [300, 1_000, 3_000])
def test_a_tone_is_loudest_in_its_band(frequency_hz, rate_hz):
    levels = mel_spectrogram_db(tone(frequency_hz, rate_hz, rate_hz), rate_hz).mean(axis=1)
    highest = 2595 * np.log10(1 + rate_hz / 2 / 700)
    band = 81 * 2595 * np.log10(1 + frequency_hz / 700) / highest - 1
    assert abs(levels.argmax() - band) < 1


@pytest.mark.parametrize("rate_hz", [22_050, 44_100])
def test_no_band_lies_between_bins(rate_hz):
    """Of white noise each band holds some, at either rate in as many frames."""
    white = np.random.default_rng(0).standard_normal(rate_hz).astype(np.float32)
    levels = mel_spectrogram_db(white, rate_hz)
    assert levels.shape == (80, 1 + rate_hz // (256 * rate_hz // 22_050) + 1)
    assert levels.mean(axis=1).min() > -10


def test_levels_are_decibels_of_power():
    samples = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    louder = mel_spectrogram_db(10 * samples, RATE_HZ) - mel_spectrogram_db(samples, RATE_HZ)
    np.testing.assert_allclose(louder, 20.0, atol=1e-3)


@pytest.mark.parametrize("num_samples", [1, 2, 511, 1024, 59_049])
def test_any_length_gives_finite_levels(num_samples):
    assert np.isfinite(mel_spectrogram_db(np.zeros(num_samples, np.float32), RATE_HZ)).all()


def test_silence_is_dark_and_sound_is_bright(tmp_path):
    silence = saved(tmp_path, [[Sound(np.zeros(RATE_HZ, np.float32), RATE_HZ, "silence")]])
    noise = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    bright = saved(tmp_path, [[Sound(0.01 * noise, RATE_HZ, "faint noise")]])
    middle = np.s_[60:120, 100:300, :3]
    assert silence[middle].max() < 0.02
    assert bright[middle].mean() > 0.4


def test_rows_and_columns_make_the_picture_larger(tmp_path):
    sound = Sound(tone(440), RATE_HZ, "tone")
    one = saved(tmp_path, [[sound]]).shape
    many = saved(tmp_path, [[sound, None, sound], [sound], [None, sound]]).shape
    assert many[0] > 2 * one[0] and many[1] > 2 * one[1]


def test_a_sample_is_waveform_stft_and_mel_of_each_sound(drawn):
    axes = drawn(figures.save_sample, sounds(1.0, 2.0, 2.0), "title")
    panels, bars = axes[:9], axes[9:]
    assert [panel.get_ylabel() for panel in panels[::3]] == [
        "waveform (full scale 1)",
        "STFT: frequency (kHz)",
        "mel: frequency (kHz)",
    ]
    assert [bar.get_ylabel() for bar in bars] == ["level (dB re the loudest)"] * 2
    assert all(bar.get_ylim() == (-80.0, 0.0) for bar in bars)
    assert [panel.get_xlabel() for panel in panels] == [""] * 6 + ["time (s)"] * 3
    for row in (panels[3:6], panels[6:9]):
        assert len({panel.get_ylim() for panel in row}) == 1
        assert len({tuple(panel.get_yticks()) for panel in row}) == 1


@pytest.mark.parametrize("durations_s", [(0.3, 2.7, 2.7), (2.7, 2.7, 2.7), (10.0, 2.7, 2.7)])
@pytest.mark.parametrize("whole", ["sample", "comparison"])
def test_a_second_is_as_wide_in_all_columns(drawn, durations_s, whole):
    if whole == "sample":
        axes = drawn(figures.save_sample, sounds(*durations_s), "title")[:9]
    else:
        axes = drawn(figures.save_comparison, [sounds(*durations_s)], "title")[:3]
    widths = [axis.get_position().width / axis.get_xlim()[1] for axis in axes]
    np.testing.assert_allclose(widths, widths[0], rtol=0.01)
    ends_s = [axis.get_xlim() for axis in axes[:3]]
    assert ends_s == [(0.0, max(2.7, s)) for s in durations_s]
    marks_s = [np.diff(axis.get_xticks())[0] for axis in axes]
    assert len({round(step_s, 6) for step_s in marks_s}) == 1


def test_a_click_lies_at_its_time_in_all_rows(drawn):
    click = np.zeros(RATE_HZ, np.float32)
    click[RATE_HZ // 2] = 1.0
    waveform, *spectrograms = drawn(figures.save_sample, [Sound(click, RATE_HZ, "click")], "")[:3]
    outline = waveform.collections[0].get_paths()[0].vertices
    assert outline[outline[:, 1].argmax(), 0] == pytest.approx(0.5, abs=0.002)
    for axis in spectrograms:
        [shown] = axis.images
        left, right, *_ = shown.get_extent()
        columns = shown.get_array().max(axis=0)
        frames = np.flatnonzero(columns > columns.max() - 3)
        middle_s = left + (right - left) * (frames.mean() + 0.5) / len(columns)
        assert middle_s == pytest.approx(0.5, abs=256 / RATE_HZ)


def test_no_title_reaches_its_neighbours(drawn):
    name = "reference 138Natural sounds_Fire_Crackle and many more words that are in its name"
    row = [Sound(s.samples, RATE_HZ, name) for s in sounds(10.0, 2.7, 2.7)]
    axes = drawn(figures.save_comparison, [row], name * 20)[:3]
    boxes = [axis.title.get_window_extent() for axis in axes]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    whole = axes[0].figure.get_suptitle(), axes[0].figure._suptitle.get_window_extent()
    assert whole[0].endswith("…") and whole[1].x0 > 0
    assert whole[1].x1 < axes[0].figure.bbox.x1


def test_wide_characters_count_twice():
    assert [len(line) for line in figures._lines("ab" * 100, 2.0, 10)] == [24, 24]
    assert [len(line) for line in figures._lines("犬" * 100, 2.0, 10)] == [12, 13]
    assert figures._lines("犬 ab", 2.0, 10) == ["犬 ab"]


def test_a_note_stands_below_the_title(drawn):
    sound = Sound(tone(440), RATE_HZ, "imitation a\nb.wav", "RMS -3 dBFS")
    [axis, *_] = drawn(figures.save_sample, [sound], "title")
    assert axis.get_title() == "imitation a\\nb.wav\nRMS -3 dBFS"


@pytest.mark.parametrize(
    ("save", "arguments"),
    [
        (figures.save_sample, (sounds(0.1), "犬")),
        (figures.save_comparison, ([sounds(0.1)], "title")),
    ],
)
def test_settings_of_matplotlib_change_nothing(tmp_path, save, arguments):
    save(tmp_path / "as it comes.png", *arguments)
    with rc_context({"axes.facecolor": "red", "text.usetex": True, "font.size": 30}):
        save(tmp_path / "set.png", *arguments)
    assert (tmp_path / "set.png").read_bytes() == (tmp_path / "as it comes.png").read_bytes()


def test_the_same_picture_has_the_same_bytes(tmp_path):
    for name in ("first.png", "second.png"):
        figures.save_sample(tmp_path / name, sounds(0.5, 1.0), "title")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_stft_levels_are_librosas():
    samples = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    theirs = librosa.stft(samples, n_fft=1024, hop_length=256, pad_mode="constant")
    ours = figures.stft_db(samples, RATE_HZ)[:, : theirs.shape[1]]
    np.testing.assert_allclose(ours, 20 * np.log10(np.abs(theirs) + 1e-5), atol=0.1)


@pytest.mark.parametrize(
    ("num_samples", "level"), [(1, 0.0), (2, 1e4), (1024, 1e-30), (59_049, 0.0)]
)
def test_any_sound_can_be_drawn(tmp_path, num_samples, level):
    sound = Sound(np.full(num_samples, level, np.float32), RATE_HZ, "constant")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ResourceWarning)  # as below
        figures.save_sample(tmp_path / "picture.png", [sound], "title")
    assert image.imread(tmp_path / "picture.png").shape[1] > 400


@pytest.mark.parametrize(
    "name",
    [
        "cost $5 and $\\frac{6.wav",
        "犬の鳴き声 🐶",
        "",
        "_^{}%&\\",
        "x" * 300,
        "\udcff",
        "犬" * 100,
        "line\n" * 40,
        "\t \u202e\u0645\u0631",
    ],
)
def test_no_name_breaks_a_picture(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ResourceWarning)  # of what other tests left to be collected
        pixels = saved(tmp_path, [[Sound(tone(440), RATE_HZ, name)]], title=name)
    assert pixels.shape[2] == 4


def test_an_unwritable_picture_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        figures.save_comparison(
            tmp_path / "file" / "picture.png", [[Sound(tone(440), RATE_HZ, "tone")]], "title"
        )

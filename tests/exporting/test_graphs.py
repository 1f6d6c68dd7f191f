"""Exported graphs beside the model: every decoder and format, rows together, steered or not."""

import functools
import re

import jax
import numpy as np
import pytest
import soxr

import exported_models
import qvae_jax
from exported_models import BOUNDS, DECODER_TYPES, apart, expected
from qvae_jax.exporting import onnx, stablehlo
from qvae_jax.exporting.graph import graphs_of
from qvae_jax.generation import gestures, latents
from qvae_jax.generation.steer_request import SteerRequest
from qvae_jax.generation.voice import voice_of
from qvae_jax.modes.export import WRITERS

FORMATS = ("stablehlo", "onnx")
RATE_HZ = exported_models.RATE_HZ


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """The graphs of a decoder in a format, written once and read back."""

    @functools.cache
    def written(decoder_type: str, form: str, **changes):
        exported_models.skip_without_packages(form)
        folder = tmp_path_factory.mktemp("exported") / "out"
        WRITERS[form](exported_models.model(decoder_type, **changes), folder)
        return qvae_jax.load(folder)

    return written


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("decoder_type", DECODER_TYPES)
def test_a_graph_makes_the_models_sound(read, decoder_type, form):
    graph, own = read(decoder_type, form), exported_models.model(decoder_type)
    given = exported_models.curves(3, 91) if decoder_type == "steered" else None
    waveform = exported_models.voices(3, RATE_HZ)
    wanted = expected(own, waveform, given)
    steering = {}
    if given is not None:
        steering = {
            "curves_given": given,
            "curve_source": np.full((3, 4), 2),
            "num_frames_given": np.full(3, 91),
        }
    together = graph(waveform, RATE_HZ, **steering)
    alone = graph(waveform[:1], RATE_HZ, **{name: value[:1] for name, value in steering.items()})
    for found, rows in ((together, 3), (alone, 1)):
        counts = found["num_sound_samples"]
        assert counts.tolist() == [wanted["sound"].shape[1]] * rows
        sound = found["sound"]
        assert not sound[:, counts[0] :].any()
        for name in ("mean", "log_variance"):
            assert apart(found[name], wanted[name][:rows]) <= BOUNDS[form]
        assert apart(sound[:, : counts[0]], wanted["sound"][:rows]) <= BOUNDS[form]


@pytest.mark.parametrize("form", FORMATS)
def test_a_sound_may_be_of_twice_the_rate(read, form):
    graph = read("frame", form, sample_rate_hz=44_100)
    own = exported_models.model("frame", sample_rate_hz=44_100)
    waveform = exported_models.voices(1, RATE_HZ)
    found = graph(waveform, RATE_HZ)
    assert graph.sample_rate_hz == 44_100 and found["num_sound_samples"].tolist() == [118_098]
    assert apart(found["sound"], expected(own, waveform)["sound"]) <= BOUNDS[form]


@pytest.mark.parametrize("form", FORMATS)
def test_as_much_of_a_voice_counts_as_to_the_model(read, form):
    believing = {"standardise_features": True, "voice_share": 0.25}
    graph = read("frame", form, **believing)
    waveform = exported_models.voices(2, RATE_HZ)
    wanted = expected(exported_models.model("frame", **believing), waveform)
    of_all = expected(exported_models.model("frame", standardise_features=True), waveform)
    found = graph(waveform, RATE_HZ)
    for name in ("mean", "log_variance", "sound"):
        assert apart(found[name], wanted[name]) <= BOUNDS[form] < apart(of_all[name], wanted[name])
    as_sounds = graph(waveform, RATE_HZ, is_sound=np.ones(2))
    for name in ("mean", "log_variance", "sound"):
        assert apart(as_sounds[name], of_all[name]) <= BOUNDS[form]


@pytest.mark.parametrize("form", FORMATS)
def test_a_short_voice_is_as_the_model_hears_it(read, form):
    graph, own = read("original", form), exported_models.model("original")
    waveform = exported_models.voices(2, RATE_HZ)
    counts = np.array([9_600, 20_000])
    # What lies after them is not heard, whatever it is.
    found = graph(waveform, RATE_HZ, num_samples=counts)["sound"]
    silent = np.where(np.arange(RATE_HZ) < counts[:, None], waveform, 0)
    assert apart(found, expected(own, silent)["sound"]) <= BOUNDS[form]
    assert apart(graph(waveform[:1, :9_600], RATE_HZ)["sound"], found[:1]) <= BOUNDS[form]


@pytest.mark.parametrize("form", FORMATS)
def test_a_steered_graph_follows_a_voice_as_generate_does(read, form):
    graph, own = read("steered", form), exported_models.model("steered")
    silence = np.zeros((1, 6_000), np.float32)
    waveform = np.concatenate([silence, exported_models.voices(1, 20_000)], axis=1)
    found = graph(waveform, RATE_HZ)
    wanted = own.generate(waveform[0], RATE_HZ)
    assert found["num_sound_samples"].tolist() == [len(wanted)]
    assert found["num_frames"].tolist() == [len(wanted) // 243]
    # Curves of a resampler in float32 are not quite those of another.
    sound = found["sound"][0, : len(wanted)]
    assert apart(sound, wanted) <= 1e-2


@pytest.mark.parametrize("form", FORMATS)
def test_curves_are_those_that_generate_steers_by(read, form):
    graph = read("steered", form)
    quiet = np.zeros((4, 3_200), np.float32)  # where soxr begins, it makes less of a sound
    waveform = np.concatenate([quiet, exported_models.voices(4, RATE_HZ - 3_200)], axis=1)
    found = graph(waveform, RATE_HZ)
    for row, curves, count in zip(waveform, found["curves"], found["num_frames"]):
        at_their_rate = soxr.resample(row, RATE_HZ, 22_050, quality="HQ")
        wanted = voice_of(at_their_rate).curves
        assert count == len(wanted)
        # dB, semitones, semitones, none.
        differs = np.abs(curves[:count] - wanted) > [0.1, 0.1, 0.1, 0.01]
        assert differs.any(axis=1).mean() <= 0.001


MODES = {
    "none": ({"curve_source": 3, "num_frames_given": 243}, SteerRequest(steer="none")),
    "loudness": ({"curve_source": [0, 1, 1, 1]}, SteerRequest(steer="loudness")),
    "pitch": ({"curve_source": [1, 1, 0, 0]}, SteerRequest(steer="pitch")),
    "stretched": ({"num_frames_given": 120}, SteerRequest(duration="1.3224489795918367")),
    "squeezed": ({"num_frames_given": 30}, SteerRequest(duration="0.3306122448979592")),
    "natural": ({"num_frames_given": -1}, SteerRequest(duration="natural")),
    "natural gesture": (
        {"curve_source": 1, "num_frames_given": -1},
        SteerRequest(steer="none", duration="natural"),
    ),
    "gesture as long as the voice": (
        {"curve_source": 1},
        SteerRequest(steer="none", duration="imitation"),
    ),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", MODES)
def test_every_way_of_steering_can_be_had(read, form, name):
    given, request = MODES[name]
    graph, own = read("steered", form), exported_models.model("steered")
    waveform = exported_models.voices(1, RATE_HZ)
    shapes = {"curve_source": (1, 4), "num_frames_given": (1,)}
    given = {key: np.broadcast_to(value, shapes[key]) for key, value in given.items()}
    of_voice = graph(waveform, RATE_HZ)
    voice = of_voice["curves"][0, : int(of_voice["num_frames"][0])]
    found = graph(waveform, RATE_HZ, **given)
    steering = gestures.steering_of(request, kind=None)
    (wanted,) = steering.curves([voice], head=lambda: own.gesture(found["z"]))
    assert found["num_frames"].tolist() == [len(wanted)]
    curves = found["curves"][0]
    np.testing.assert_allclose(curves[: len(wanted)], wanted, atol=1e-3)
    np.testing.assert_array_equal(curves[len(wanted) :], curves[len(wanted) - 1 : -1])


@pytest.mark.parametrize("form", FORMATS)
def test_latents_are_drawn_moved_and_given(read, form):
    graph, own = read("original", form), exported_models.model("original")
    waveform = exported_models.voices(1, RATE_HZ)
    plain = graph(waveform, RATE_HZ)
    np.testing.assert_array_equal(plain["z"], plain["mean"])
    epsilon = np.random.default_rng([5, 1, 1]).standard_normal((1, 4))
    drawn = graph(waveform, RATE_HZ, temperature=np.full(1, 0.7), epsilon=epsilon)
    wanted = latents.drawn(drawn["mean"][0], drawn["log_variance"][0], 0.7, [5, 1, 1])
    np.testing.assert_allclose(drawn["z"][0], wanted, atol=1e-5)
    z = np.float32([[1, -2, 0.5, 3]])
    found = graph(waveform, RATE_HZ, z_given=z, use_z=np.ones(1))
    np.testing.assert_array_equal(found["z"], z)
    assert apart(found["sound"], own.decode(z)) <= BOUNDS[form]


def test_of_two_encoders_a_graph_has_the_voices(read):
    graph = read("original", "onnx", sound_encoder=True)
    own = exported_models.model("original", sound_encoder=True)
    waveform = exported_models.voices(1, RATE_HZ)
    of_voices, of_sounds = (own.posterior(waveform, sounds=sounds)[0] for sounds in (False, True))
    found = graph(waveform, RATE_HZ)["mean"]
    assert apart(found, of_voices) <= BOUNDS["onnx"] < apart(found, of_sounds)


def test_a_graph_for_all_platforms_holds_plain_forms_only():
    own = exported_models.model("steered")
    (graph,) = graphs_of(own.config)
    exported = stablehlo.exported(graph, own.variables)
    assert exported.platforms == stablehlo.PLATFORMS
    program = exported.mlir_module()
    # What JAX promises to read for half a year, and no kernel of a processor's.
    assert set(re.findall(r"custom_call @(\w+)", program)) == {"shape_assertion"}
    assert "f64" not in program


def test_the_model_is_left_as_it_is(read):
    """What is traced for graphs does not stay for the programs of this machine."""
    own = exported_models.model("original")
    waveform = exported_models.voices(1, RATE_HZ)
    before = own.generate(waveform[0], RATE_HZ)
    read("original", "onnx")
    jax.clear_caches()
    np.testing.assert_array_equal(own.generate(waveform[0], RATE_HZ), before)


def test_both_graphs_of_a_long_model_give_one_sound(read):
    graph = read("steered", "stablehlo", duration_s=3.0)
    assert [one["duration_s"] for one in graph.description["graphs"]] == [3.0, 2.7]
    waveform = exported_models.voices(1, RATE_HZ // 2)
    short = graph(waveform, RATE_HZ)
    longest = graph(
        np.pad(waveform, [(0, 0), (0, 80_000)]), RATE_HZ, num_samples=np.full(1, 16_000)
    )
    count = int(short["num_sound_samples"][0])
    assert longest["num_sound_samples"].tolist() == [count]
    assert apart(longest["sound"][:, :count], short["sound"][:, :count]) <= BOUNDS["stablehlo"]
    assert short["sound"].shape[1] < longest["sound"].shape[1]


def test_arrays_of_large_graphs_lie_beside_them_once(monkeypatch, tmp_path):
    exported_models.skip_without_packages("onnx")
    own = exported_models.model("steered", duration_s=3.0)
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    onnx.write(own, alone)
    monkeypatch.setattr(onnx, "LARGEST_BYTES", 0)
    onnx.write(own, shared)
    size = lambda folder: sum(path.stat().st_size for path in folder.iterdir())
    assert size(shared) < 0.7 * size(alone)
    waveform = exported_models.voices(1, RATE_HZ)
    wanted, found = (qvae_jax.load(folder)(waveform, RATE_HZ) for folder in (alone, shared))
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])


def test_files_are_as_the_folder_says(tmp_path):
    exported_models.skip_without_packages("stablehlo")
    folder = tmp_path / "out"
    stablehlo.write(exported_models.model("frame"), folder)
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "graph_1s.stablehlo",
        "noise.f32",
    }

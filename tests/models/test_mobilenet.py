"""MobileNetV3: golden maps of three networks, shapes of all eight, and which statistics move."""

import importlib

import jax
import numpy as np
import pytest
from flax import nnx

import golden_rules
from filled import error, filled_mobilenet, golden_layout, mobilenet_state_dict
from qvae_jax.audio.logmel import log_mel
from qvae_jax.models import mobilenet, variables
from weight_port import names

TOLERANCE = 1e-4  # relative to the largest of each array
EVERY_LAYER = frozenset(range(mobilenet.LAST_LAYER + 1))

# Width: embedding size, and parameters, which EfficientAT publishes rounded (4.88 M for mn10).
WIDTHS = {
    0.1: (96, 123_783),
    0.2: (192, 324_695),
    0.4: (384, 983_599),
    0.5: (480, 1_431_239),
    1.0: (960, 4_876_831),
    2.0: (1920, 17_909_287),
    3.0: (2880, 39_086_367),
    4.0: (3840, 68_427_303),
}


@pytest.fixture(scope="module")
def logmel():
    return np.asarray(jax.jit(log_mel)(golden_rules.signals(2, 320_000, 32_000, 1)))


def _released_mn04(shared_dir):
    pytest.importorskip("torch", reason="reads a PyTorch checkpoint")
    torch = importlib.import_module("torch")
    path = shared_dir / "torch_checkpoints" / "mn04_as_mAP_432.pt"
    if not path.is_file():
        pytest.skip(f"needs the released checkpoint {path}")
    return {key: tensor.numpy() for key, tensor in torch.load(path, weights_only=True).items()}


@pytest.fixture(scope="module", params=["mn10_filled", "mn04_as_released"])
def network(request, logmel):
    """(golden values, our maps, our logits) of one network on the golden log-mel."""
    if request.param == "mn10_filled":
        graphdef, given = filled_mobilenet(1.0)
    else:
        shared_dir = request.getfixturevalue("shared_dir")
        graphdef, given = filled_mobilenet(0.4, _released_mn04(shared_dir))

    @jax.jit
    def run(given, logmel):
        model = variables.merge(graphdef, given)
        return model.maps(logmel), model.pooled(logmel), model.logits(logmel)

    return golden_rules.load(f"mobilenet_{request.param}"), *run(given, logmel)


def test_every_layer_equals_golden(network):
    golden, maps, _, _ = network
    assert len(maps) == 17
    for layer, ours in enumerate(maps):
        batch, channels, mels, frames = golden[f"features_{layer}_shape"]
        assert ours.shape == (batch, mels, frames, channels)
        mean = np.mean(ours, (1, 2))
        assert error(mean, golden[f"features_{layer}_mean"]) < TOLERANCE, layer


def test_embeddings_and_logits_equal_golden(network):
    golden, _, pooled, logits = network
    assert error(pooled, golden["pooled"]) < TOLERANCE
    normalised = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    assert error(normalised, golden["normalised"]) < TOLERANCE
    assert error(logits, golden["logits"]) < TOLERANCE


def test_training_mode_equals_golden(logmel):
    golden = golden_rules.load("mobilenet_mn04_filled_train")
    graphdef, given = filled_mobilenet(0.4)

    @jax.jit
    def run(given, logmel):
        model = variables.merge(graphdef, given)
        return model.pooled(logmel, train_layers=EVERY_LAYER), variables.batch_stats(model)

    pooled, moved = run(given, logmel)
    assert error(pooled, golden["pooled"]) < TOLERANCE
    for layer in (0, 16):
        for theirs, ours in (("rm", "mean"), ("rv", "var")):
            statistics = moved[f"features.{layer}.norm.{ours}"]
            assert error(statistics, golden[f"{theirs}{layer}"]) < TOLERANCE


@pytest.mark.parametrize("width", WIDTHS)
def test_embedding_size_and_number_of_parameters(width):
    embedding_size, num_parameters = WIDTHS[width]
    assert mobilenet.embedding_size(width) == embedding_size
    structure = nnx.eval_shape(lambda: mobilenet.MobileNetV3(width, rng=None))
    params = variables.split(structure)[1].params
    assert sum(int(np.prod(array.shape)) for array in params.values()) == num_parameters
    assert params["features.16.kernel"].shape[-1] == embedding_size


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        # small and exact
        *[(0, 8), (1, 8), (8, 8), (16, 16), (960, 960)],
        # to the nearest, ties upwards
        *[(20, 24), (28, 32), (35.9, 40), (96.1, 96), (100, 104)],
        # never more than a tenth below
        *[(11.9, 16), (8.8, 8), (8.9, 16), (17.7, 16), (17.8, 24), (36, 40), (26.6, 24)],
    ],
)
def test_make_divisible(channels, expected):
    assert mobilenet.make_divisible(channels) == expected


def test_names_cover_the_original_state_dict():
    shapes = golden_layout("mn10_state_dict_shapes")
    table = names.mobilenet(1.0)
    counters = {key for key in shapes if key.endswith("num_batches_tracked")}
    assert set(table) == set(shapes) - counters
    _, ours = filled_mobilenet(1.0)
    assert set(table.values()) == set(ours.params) | set(ours.batch_stats)
    assert len(set(table.values())) == len(table)


def test_filled_weights_come_through_in_our_axes():
    state_dict = mobilenet_state_dict(0.4)
    _, given = filled_mobilenet(0.4)
    theirs = state_dict["features.5.block.1.0.weight"]  # depthwise [channels, 1, k, k]
    np.testing.assert_array_equal(
        given.params["features.5.depthwise.kernel"][1, 3, 0, 7], theirs[7, 0, 1, 3]
    )
    theirs = state_dict["features.5.block.2.conc_se_layers.0.fc1.weight"]  # [squeezed, channels]
    np.testing.assert_array_equal(
        given.params["features.5.squeeze_excite.reduce.kernel"][5, 2], theirs[2, 5]
    )


@pytest.fixture(scope="module")
def small():
    """mn01 with drawn weights: its structure and variables."""
    return variables.split(mobilenet.MobileNetV3(0.1, rng=np.random.default_rng(0)))


def test_last_layer_and_train_layers(small):
    graphdef, given = small
    train_layers = frozenset({0, 3, 16})

    @jax.jit
    def run(given, logmel):
        model = variables.merge(graphdef, given)
        some, every = model.maps(logmel, last_layer=4), model.maps(logmel)
        untouched = variables.batch_stats(model)
        model.pooled(logmel, train_layers=train_layers)
        return some, every, untouched, variables.batch_stats(model)

    logmel = np.random.default_rng(1).standard_normal((2, 32, 40)).astype(np.float32)
    some, every, untouched, moved = run(given, logmel)
    assert (len(some), len(every)) == (5, 17)
    for first, again in zip(some, every[:5], strict=True):
        np.testing.assert_array_equal(first, again)
    assert _layers_that_differ(untouched, given.batch_stats) == set()
    assert _layers_that_differ(moved, given.batch_stats) == train_layers


def _layers_that_differ(ours, others) -> set[int]:
    return {int(name.split(".")[1]) for name in ours if np.any(ours[name] != others[name])}


def test_strides_halve_odd_sizes_upwards(small):
    graphdef, given = small
    shapes = jax.eval_shape(
        lambda given, x: variables.merge(graphdef, given).maps(x),
        given,
        jax.ShapeDtypeStruct((1, 33, 125), np.float32),
    )
    sizes = [shapes[layer].shape[1:3] for layer in (0, 2, 4, 7, 13)]
    assert sizes == [(17, 63), (9, 32), (5, 16), (3, 8), (2, 4)]

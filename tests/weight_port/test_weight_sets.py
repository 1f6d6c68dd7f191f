"""Which weights of a file are meant: wrapped, under a prefix, or beside others."""

import pathlib

import pytest

from qvae_jax.system.errors import UserError

torch = pytest.importorskip("torch", reason="weight_port reads tensors of torch")

from weight_port import weight_sets
from weight_port.weight_sets import AISFX, EFFICIENTAT, FIRST, QBV, QVAE, QVIM, SAMPLECNN

PATH = pathlib.Path("some.ckpt")
KEYS = (FIRST, "features.0.1.running_var", "features.0.1.num_batches_tracked", "classifier.5.bias")
QVAE_KEYS = (
    *(f"encoder.backbone.{key}" for key in KEYS),
    "encoder.mu_head.bias",
    "decoder.conv1.bias",
    "loss_fn.network.features.0.0.weight",
)
QVIM_KEYS = tuple(f"{side}_encoder.{key}" for side in ("imitation", "reference") for key in KEYS)
QBV_KEYS, QBV_KEYS_TOO = (
    tuple(f"{side}.{key}" for side in ("im", second) for key in KEYS) for second in ("ref", "rec")
)
TAGGER_KEYS = ("conv1.0.weight", "conv1.1.running_var", "conv11.0.weight", "fc.bias")
AISFX_KEYS = tuple(f"embedding_net.conv_block{i}.conv1.weight" for i in (1, 4)) + ("fc.0.0.bias",)


def _dict(prefix: str = "", value: float = 1.0, keys: tuple[str, ...] = KEYS) -> dict:
    return {prefix + key: torch.tensor([value, value]) for key in keys}


def _chosen(content, name: str | None = None) -> weight_sets.WeightSet:
    return weight_sets.choose(PATH, weight_sets.find(PATH, content), name)


PREFIXES = (
    "",
    "module.",
    "_orig_mod.",
    "model.",
    "net.",
    "module._orig_mod.model.",
    "_orig_mod.module.net.",
    "_forward_module.",
    "_fsdp_wrapped_module.model._checkpoint_wrapped_module.",
    "student.backbone.",
    "features.",
    "encoder.",
    "encoder.backbone.",
    "loss_fns.",
)
PLACES = ("", "model_state_dict", "model", "state_dict", "net", "weights", "generator.weights", "0")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (KEYS, EFFICIENTAT),
        (QVAE_KEYS, QVAE),
        (QVIM_KEYS, QVIM),
        (QBV_KEYS, QBV),
        (QBV_KEYS_TOO, QBV),
        (TAGGER_KEYS, SAMPLECNN),
        (AISFX_KEYS, AISFX),
    ],
)
def test_the_only_weights_are_found_wherever_they_lie(keys, kind, prefix, place):
    content = _dict(prefix, keys=keys)
    for part in reversed(place.split(".") if place else ()):
        content = {part: content, "epoch": 3, "optimizer": {"state": {0: torch.ones(2, 2)}}}
    found = _chosen(content)
    assert (found.kind, found.prefix, found.place, found.outside) == (kind, prefix, place, ())
    assert found.written == {key: prefix + key for key in keys}
    assert found.values.keys() == set(keys)
    assert found.name == (".".join(filter(None, (place, prefix[:-1]))) or ".")
    assert _chosen(content, found.name) == found


@pytest.mark.parametrize(
    "keys",
    [
        ("conv1.0.weight", "conv1.0.bias", "conv2.0.weight", "fc.bias"),  # some other network
        ("embedding_net.conv_block1.conv1.weight", "embedding_net.conv_block2.conv1.weight"),
        ("xconv1.0.weight", "conv11.0.weight"),
        ("conv_block1.conv1.weight", "conv_block4.conv1.weight"),
    ],
)
def test_what_only_begins_like_a_judge_is_of_an_unknown_kind(keys):
    with pytest.raises(UserError, match=f"unknown kind: it holds {keys[0]}"):
        _chosen(_dict(keys=keys))


@pytest.mark.parametrize("wrapper", sorted(weight_sets.WRAPPERS))
def test_the_wrappers_of_a_models_parts_are_taken_out(wrapper):
    encoder = {f"model.encoder.{wrapper}.backbone.{key}": torch.ones(1) for key in KEYS}
    decoder = {f"model.decoder.{wrapper}.conv1.bias": torch.ones(1)}
    found = _chosen(encoder | decoder)
    assert (found.kind, found.prefix) == (QVAE, "model.")
    assert f"encoder.backbone.{FIRST}" in found.values and "decoder.conv1.bias" in found.values
    assert found.written["decoder.conv1.bias"] == f"model.decoder.{wrapper}.conv1.bias"


@pytest.mark.parametrize(
    ("wrapped", "bare"),
    [
        ("features.1.module.bias", "features.1.bias"),
        ("features.1.module.bias", "features.1.weight"),
        ("features.1.module.bias", "features.1._orig_mod.bias"),
        ("module.features.1.bias", FIRST),
    ],
)
def test_a_module_that_is_wrapped_in_part_is_refused_by_both_names(wrapped, bare):
    with pytest.raises(UserError) as raised:
        _chosen({FIRST: torch.ones(1), wrapped: torch.ones(1), bare: torch.zeros(1)})
    assert f"{wrapped} and {bare}" in str(raised.value)


# Each holds a set of ones, of the first name, and one of twos, of the second.
SEVERAL = {
    "beside the model": ({"model": _dict(), "ema": _dict(value=2)}, "model", "ema"),
    "timm": (
        {"state_dict": _dict(), "state_dict_ema": _dict(value=2), "arch": "mn10"},
        "state_dict",
        "state_dict_ema",
    ),
    "in a dict of its own": (
        {"state_dict": _dict("model."), "ema_state_dict": {"decay": 0.9, "shadow": _dict("", 2)}},
        "state_dict.model",
        "ema_state_dict.shadow",
    ),
    "an averaged model": (
        {"net": _dict(), "swa": _dict("module.", 2) | {"n_averaged": torch.tensor(3)}},
        "net",
        "swa.module",
    ),
    "in one dict": (
        {"state_dict": _dict("net.") | _dict("net_ema.", 2)},
        "state_dict.net",
        "net_ema",
    ),
    "within the other": (_dict() | _dict("ema.module.", 2), ".", "ema.module"),
    "Lightning's callback": (
        {"state_dict": _dict(), "callbacks": {"SWA": {"average_model_state": _dict("", 2)}}},
        "state_dict",
        "callbacks.SWA.average_model_state",
    ),
    "Lightning's averaging, whose plain weights lie elsewhere": (
        {"state_dict": _dict(), "current_model_state": _dict("", 2)},
        "state_dict",
        "current_model_state",
    ),
    "in a list": ({"replicas": [_dict(), _dict("", 2)]}, "replicas.0", "replicas.1"),
    "a teacher beside a QVAE": (
        {"state_dict": _dict(keys=QVAE_KEYS) | _dict("teacher.", 2)},
        "state_dict",
        "state_dict.teacher",
    ),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_of_several_sets_none_is_taken_unasked_and_each_by_its_name(case):
    content, ones, twos = SEVERAL[case]
    twos = f"state_dict.{twos}" if case == "in one dict" else twos
    with pytest.raises(UserError) as raised:
        _chosen(content)
    message = str(raised.value)
    assert f"2 sets of weights ({ones}, {twos})" in message and "--weights=NAME" in message
    for name, value in ((ones, 1), (twos, 2)):
        found = _chosen(content, name)
        assert {float(tensor[0]) for tensor in found.values.values()} == {value}


def test_a_name_may_stop_where_one_set_lies_below_it():
    content = {"model": _dict("module."), "ema": _dict("module.", 2)}
    assert _chosen(content, "ema") == _chosen(content, "ema.module")
    below = {"nets": {"a": _dict(), "b": _dict()}}
    with pytest.raises(UserError, match="more than one set of weights below nets: .* nets.a, net"):
        _chosen(below, "nets")


@pytest.mark.parametrize("name", ["", "mode", "models", "model.", "absent", "state_dict"])
def test_a_name_that_is_none_is_refused_with_those_there_are(name):
    with pytest.raises(UserError, match=r"no weights named .*: give --weights one of model, ema"):
        _chosen({"model": _dict(), "ema": _dict()}, name)


def test_names_are_shown_as_a_shell_takes_them():
    content = {"state_dict": _dict(), "callbacks": {"EMA{'decay': 0.9}": _dict()}}
    with pytest.raises(UserError, match=r"""'callbacks\.EMA\{'"'"'decay'"'"': 0\.9\}'"""):
        _chosen(content)


def test_weights_under_two_names_that_are_one_object_are_one_set():
    weights = _dict()
    assert _chosen({"model": weights, "best": weights}).name == "model"


def test_what_refers_to_itself_is_gone_through_once():
    content = {"model": _dict()}
    content["self"] = content
    assert _chosen(content).name == "model"


def test_deep_nesting_is_no_error():
    content = _dict()
    for _ in range(5000):
        content = [content]
    assert _chosen(content).values.keys() == set(KEYS)


@pytest.mark.parametrize(
    ("prefix", "others"),
    [
        ("model.", ("projection.weight", "modelling", "model.mel.window")),
        ("", ("projection.weight", "epoch", "ema_features_0_0_weight")),
        ("module.", ("n_averaged", "model.x")),
    ],
)
def test_keys_beside_the_weights_are_listed(prefix, others):
    found = _chosen(_dict(prefix) | dict.fromkeys(others))
    assert found.outside == others
    assert found.values.keys() == set(KEYS)


def test_what_may_be_weights_without_being_a_set_is_counted():
    """As torch_ema and NeMo keep their averages, and an average of what is trained alone.

    Seeds, losses and an optimizer's state are no such thing.
    """
    content = {
        "model": _dict(),
        "ema": {"shadow_params": [torch.ones(2, 2), torch.ones(3, 1), torch.ones(4)]},
        "optimizer_states": [{"ema": (torch.ones(2, 2), torch.ones(2, 2))}],
        "ema_of_the_head": {"classifier.2.weight": torch.ones(2, 2), "5weight": torch.ones(2, 2)},
        "optimizer": {"state": {i: {"exp_avg": torch.ones(2, 2)} for i in range(9)}},
        "rng_states": [torch.ones(9, 9, dtype=torch.uint8)] * 2,
        "losses": [torch.tensor(0.5)] * 4,
    }
    found = weight_sets.find(PATH, content)
    assert found.others == {
        "ema.shadow_params": 2,
        "optimizer_states.0.ema": 2,
        "ema_of_the_head": 2,
    }


def test_a_module_counts_as_its_state_dict():
    features = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, bias=False)))
    module = torch.nn.Module()
    module.features = features
    found = _chosen({"model": torch.nn.DataParallel(module)})
    assert (found.name, found.written) == ("model.module", {FIRST: f"module.{FIRST}"})

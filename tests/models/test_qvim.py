"""One encoder or two: names, what each side hears, and their variables apart."""

import jax
import numpy as np
import pytest

from checkpoint_trees import assert_same_trees
from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.models import qvim, variables
from qvae_jax.models.qvae import QVAEConfig, encoder_network
from qvae_jax.models.qvim import QVIM
from qvae_jax.training.optimizer import split_trainable

CONFIG = QVAEConfig(encoder_width=0.1, front_end=FrontEnd(duration_s=0.2, num_mels=32))
LOGMELS = np.random.default_rng(0).standard_normal((2, 3, 32, 20)).astype(np.float32)


def plain(seed: int | None = None):
    return encoder_network(CONFIG, rng=None if seed is None else np.random.default_rng(seed))


def encoder(seed: int) -> variables.Variables:
    return variables.split(plain(seed))[1]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("learnt", [None, 0.1])
def test_variables_fit_the_model_and_come_apart_again(shared, learnt):
    sharing = {"shared": shared, "learnt_temperature": learnt}
    found = qvim.begun(encoder(1), encoder(2), **sharing)
    expected = variables.split(QVIM(CONFIG, **sharing))[1]
    assert found.params.keys() == expected.params.keys()
    assert found.batch_stats.keys() == expected.batch_stats.keys()
    apart = qvim.encoders(found)
    assert list(apart) == (["imitation"] if shared else ["imitation", "reference"])
    for number, side in enumerate(apart, start=1):
        assert_same_trees(apart[side]._asdict(), encoder(number)._asdict())


@pytest.mark.parametrize("shared", [True, False])
def test_each_side_is_heard_by_its_encoder(shared):
    sharing = {"shared": shared, "learnt_temperature": None}
    given = qvim.begun(encoder(1), encoder(2), **sharing)
    graphdef, alone = (variables.split(module)[0] for module in (QVIM(CONFIG, **sharing), plain()))
    heard = jax.jit(
        lambda number, x: variables.merge(alone, encoder(number)).pooled(x), static_argnums=0
    )
    model = variables.merge(graphdef, given)
    found = jax.jit(lambda one, other: model.pairs(one, other))(*LOGMELS)
    for embedded, number, logmels in zip(found, (1, 1 if shared else 2), LOGMELS):
        pooled = heard(number, logmels)
        unit = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        np.testing.assert_allclose(embedded, unit, atol=1e-5)


def test_layers_and_temperature_learn_and_classifiers_do_not():
    given = qvim.begun(encoder(1), encoder(2), shared=False, learnt_temperature=0.1)
    trainable, frozen = split_trainable(given.params, frozenset(range(17)))
    assert "tau" in trainable
    assert all(".classifier." in name for name in frozen) and frozen
    assert not any(".classifier." in name for name in trainable)
    assert {name.split(".")[0] for name in trainable} == {"imitation", "reference", "tau"}

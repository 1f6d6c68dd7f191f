"""The table of parameters."""

import numpy as np

from qvae_jax.models import variables
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.training import optimizer, summary
from qvae_jax.training.summary import Count


def test_each_part_is_counted_once_and_in_order():
    trainable = {"encoder.features.16.kernel": np.ones((2, 3)), "decoder.final.bias": np.ones(4)}
    frozen = {"encoder.features.2.norm.scale": np.ones(5), "mu_head.bias": np.ones(1)}
    assert list(summary.count_by_part(trainable, frozen).items()) == [
        ("encoder layer 2", Count(0, 5)),
        ("encoder layer 16", Count(6, 0)),
        ("mu_head", Count(0, 1)),
        ("decoder", Count(4, 0)),
        (summary.TOTAL, Count(10, 6)),
    ]


def test_the_table_of_a_whole_model_adds_up():
    params = variables.split(QVAE(QVAEConfig(encoder_width=0.1), rng=None))[1].params
    given = optimizer.split_trainable(params, frozenset({15, 16}))
    counts = summary.count_by_part(*given)
    total = counts.pop(summary.TOTAL)
    assert sum(total) == sum(array.size for array in params.values())
    assert total == Count(*map(sum, zip(*counts.values())))
    assert [part for part, count in counts.items() if count.trainable] == [
        "encoder layer 15",
        "encoder layer 16",
        "mu_head",
        "logvar_head",
        "decoder",
    ]
    lines = summary.parameter_table(*given).splitlines()
    assert len(lines) == 1 + len(counts) + 1 and len(counts) == 17 + 4
    assert lines[-1].split() == ["all", f"{sum(total):,}", f"{total.trainable:,}"]

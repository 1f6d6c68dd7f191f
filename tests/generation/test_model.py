"""A model: any number of rows, results that are finite, and what may be loaded and heard."""

import doctest
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import qvae_jax
import small_run
from qvae_jax import configuration
from qvae_jax.generation.model import Model
from qvae_jax.models.variables import Variables
from qvae_jax.system.errors import UserError

REPOSITORY = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(data_set) -> Model:
    """Features of an early layer, which is soon compiled."""
    config = small_run.config(data_set, **{"model.feature_space": "1"})
    model_config = configuration.model_config(config)
    return Model(model_config, configuration.initial_variables(config, model_config))


@pytest.fixture(scope="module")
def waveforms(model) -> np.ndarray:
    """Five seconds of noise, each louder than the one before."""
    noise = np.random.default_rng(0).standard_normal((5, model.front_end.num_samples))
    return (noise * np.arange(1, 6)[:, None] / 20).astype(np.float32)


# --- Rows


def test_any_number_of_rows_is_what_they_are_one_by_one(model, waveforms):
    names = ("features", "mu", "logvar", "audio")
    chain = lambda rows, **how: dict(
        zip(
            names,
            (
                model.features(rows, **how),
                *model.posterior(rows, **how),
                model.decode(model.posterior(rows, **how)[0], **how),
            ),
        )
    )
    alone = [chain(waveforms[i : i + 1]) for i in range(5)]
    together = chain(waveforms, batch_size=2)
    for name in names:
        expected = np.concatenate([each[name] for each in alone])
        assert together[name].shape == expected.shape
        np.testing.assert_allclose(together[name], expected, atol=1e-5)


def test_no_rows_give_none(model):
    assert model.decode(np.zeros((0, 4))).shape == (0, 59_049)
    assert [x.shape for x in model.heads(np.zeros((0, model.config.feature_dim())))] == [(0, 4)] * 2


@pytest.mark.parametrize(
    ("num_rows", "batch_size", "sizes"),
    [(3, None, [3]), (8, None, [8]), (19, None, [8, 8, 8]), (3, 2, [2, 2]), (1, 4, [4])],
)
def test_rows_are_computed_in_batches_of_one_size(model, monkeypatch, num_rows, batch_size, sizes):
    seen = []

    def decode(given, z):
        seen.append(len(z))
        return np.repeat(z[:, :1], 5, axis=1)

    monkeypatch.setattr(model, "_decode", decode)
    z = np.random.default_rng(0).standard_normal((num_rows, 4)).astype(np.float32)
    found = model.decode(z, batch_size=batch_size)
    assert seen == sizes
    np.testing.assert_array_equal(found, np.repeat(z[:, :1], 5, axis=1))


@pytest.mark.parametrize("spoilt", ["mu_head.bias", "logvar_head.bias"])
def test_results_that_are_not_finite_are_refused(model, waveforms, spoilt):
    params = model.variables.params | {spoilt: np.full(4, np.nan, np.float32)}
    broken = Model(model.config, Variables(params, model.variables.batch_stats))
    broken.features(waveforms[:2])
    with pytest.raises(UserError, match="a sound that is not finite of first: its weights are dam"):
        broken.posterior(waveforms[:2], names=["first", "second"])
    with pytest.raises(UserError, match="a sound that is not finite: its weights"):
        broken.posterior(waveforms[:2])


def test_the_row_that_is_not_finite_is_named(model, monkeypatch):
    monkeypatch.setattr(model, "_decode", lambda given, z: z)
    z = np.zeros((11, 4), np.float32)
    z[9, 2] = np.nan
    with pytest.raises(UserError, match="not finite of sound 9:"):
        model.decode(z, names=[f"sound {i}" for i in range(11)])
    model.decode(z[:9], names=["x"] * 9)


# --- The Python interface


def test_the_docstring_example(frozen_run, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "first").symlink_to(frozen_run)
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(qvae_jax)
    assert result.attempted == 5 and result.failed == 0


def test_importing_the_package_loads_no_jax():
    code = "import sys, qvae_jax; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


@pytest.mark.parametrize(
    ("imitation", "options", "message"),
    [
        (np.zeros(0), {}, "at least one sample"),
        (np.zeros((2, 2, 2)), {}, "shape"),
        (np.full(9, np.inf), {}, "not finite"),
        (np.zeros(9), {"sample_rate_hz": 0}, "sample_rate_hz is 0"),
        (np.zeros(9), {"temperature": -1.0}, "--temperature is"),
    ],
    ids=["empty", "three dimensions", "infinite", "rate", "temperature"],
)
def test_the_interface_refuses_in_one_line(frozen_run, imitation, options, message):
    with pytest.raises(UserError, match=message) as raised:
        qvae_jax.load(frozen_run).generate(imitation, **{"sample_rate_hz": 16_000, **options})
    assert "\n" not in str(raised.value)


def test_loading_what_is_no_model(tmp_path):
    with pytest.raises(UserError, match="holds no config.json, so it is no model"):
        qvae_jax.load(tmp_path)


def test_generating_prints_nothing(model, capsys):
    assert model.generate(np.ones(800) / 9, 8_000).shape == (59_049,)
    assert capsys.readouterr() == ("", "")

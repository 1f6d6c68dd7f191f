"""The flag --config: names of configs, names of settings, and what a config may be."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import vimsketch
from qvae_jax.modes import config_flag
from qvae_jax.system.errors import UserError

GROUPS, SETTINGS = config_flag._names(vimsketch.get_config())


def test_a_config_of_the_working_folder_goes_before_one_that_comes_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = ["main.py", "--config=quickstart", "-config", "overfit", "quickstart", "--config=mine"]
    quickstart, overfit = (str(config_flag.CONFIGS[name]) for name in ("quickstart", "overfit"))
    expected = ["main.py", f"--config={quickstart}", "-config", overfit, *named[4:]]
    assert config_flag.with_paths_of_configs(named) == expected
    (tmp_path / "quickstart").touch()
    assert config_flag.with_paths_of_configs(named)[1] == "--config=quickstart"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("training.num-epochs", "training.num_epochs"),
        ("training.batchsize", "training.batch_size"),
        ("trainin.seed", "training.seed"),
        ("model.decoder.typ", "model.decoder.type"),
        ("num_epochs", "training.num_epochs"),
        ("seed", "training.seed"),
        ("dataset_dir", "data.dataset_dir"),
        ("training.", None),
        (".training", None),
        ("zzz", None),
        ("", None),
        ("training.seed[0]", "training.seed"),
    ],
)
def test_a_setting_that_is_none_is_told_the_nearest(name, nearest):
    with pytest.raises(UserError) as refused:
        config_flag.check_names(["--workdir=x", f"--config.{name}=1"])
    message = str(refused.value)
    assert message.startswith(f"--config has no such setting: {name!r}")
    assert "vimsketch.py lists all" in message
    assert nearest is None or f"did you mean --config.{nearest}?" in message


def test_every_setting_and_every_group_may_be_named():
    config_flag.check_names([f"--config.{name}=1" for name in GROUPS + SETTINGS])
    config_flag.check_names(["-config.training.seed", "--noconfig.validation.batch_statistics"])
    config_flag.check_names(
        ["--config=x", "--configuration.y=1", "config.z=1", "--inputs=--config.a"]
    )
    assert {"training", "model.decoder"} < set(GROUPS) and "model.decoder.width" in SETTINGS


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.text(max_size=30))
def test_whatever_is_named_is_a_setting_or_refused_in_one_sentence(name):
    try:
        config_flag.check_names([f"--config.{name}"])
    except UserError as error:
        assert "no such setting" in str(error)
    else:
        assert name.partition("=")[0] in GROUPS + SETTINGS

"""The pairs of a run's split: those that the config tells, and parts that it does not have."""

import pytest

import small_run
from qvae_jax import configuration
from qvae_jax.data.split_record import record_split
from qvae_jax.runs import run_pairs, run_sources
from qvae_jax.system.errors import UserError


def workdir_of(tmp_path, data_set, **changes) -> str:
    """A run's folder with nothing in it but its config."""
    configuration.record(small_run.config(data_set, **changes), tmp_path)
    return str(tmp_path)


def test_each_pair_lies_in_one_part(tmp_path, data_set):
    workdir = workdir_of(tmp_path, data_set)
    parts = [run_pairs(workdir, part)[1] for part in ("train", "interpolation", "extrapolation")]
    assert [len(part) for part in parts] == [6, 3, 3]
    assert len({pair for part in parts for pair in part}) == 12


def test_a_source_knows_its_reference(tmp_path, data_set):
    for source in run_sources(workdir_of(tmp_path, data_set), "extrapolation"):
        key = source.path.name.partition("_")[2]
        assert source.path.is_file() and source.reference.is_file()
        assert source.reference.name.partition("_")[2] == key
        assert (source.name, source.stem) == (str(source.path), source.path.stem)


def test_a_part_that_a_run_does_not_have(tmp_path, data_set):
    workdir = workdir_of(tmp_path, data_set, **{"overfit.num_pairs": 4})
    assert len(run_pairs(workdir, "train")[1]) == 4
    with pytest.raises(UserError, match="has no part 'interpolation': it has train"):
        run_pairs(workdir, "interpolation")


@pytest.mark.parametrize("kind", ["imitation", "reference"])
def test_what_a_run_left_out_is_not_measured_either(tmp_path, data_set, kind):
    workdir = workdir_of(tmp_path, data_set)
    _, pairs = run_pairs(workdir, "train")
    bad = getattr(pairs[0], kind)
    record_split(tmp_path, {}, {bad: "cannot be read"})
    _, left = run_pairs(workdir, "train")
    assert left == tuple(pair for pair in pairs if getattr(pair, kind) != bad)
    assert 0 < len(left) < len(pairs)


def test_a_part_of_which_nothing_could_be_read(tmp_path, data_set):
    workdir = workdir_of(tmp_path, data_set)
    _, pairs = run_pairs(workdir, "extrapolation")
    record_split(tmp_path, {}, {pair.imitation: "cannot be read" for pair in pairs})
    with pytest.raises(UserError, match="has no part 'extrapolation'"):
        run_pairs(workdir, "extrapolation")


@pytest.mark.parametrize("content", ["3", '{"left_out": ["a.wav"]}', "{"])
def test_a_damaged_record_is_named(tmp_path, data_set, content):
    workdir = workdir_of(tmp_path, data_set)
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(UserError, match="split.json"):
        run_pairs(workdir, "train")

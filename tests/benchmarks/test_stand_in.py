"""The stand-in for VimSketch: real names, and durations as the real ones."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks import stand_in
from qvae_jax.data.splits import split_pairs
from qvae_jax.data.vimsketch import read_index

GOLDEN = json.loads((Path(__file__).resolve().parents[1] / "golden" / "splits.json").read_text())


@pytest.fixture(scope="module")
def real_names(tmp_path_factory, shared_dir):
    """All the real names, with three sounds to each folder."""
    folder = tmp_path_factory.mktemp("stand_in") / "data"
    names_dir = shared_dir / "vimsketch_names"
    stand_in.write_stand_in(folder, 12_202, names_dir=names_dir, num_sounds=3)
    return folder


def test_its_split_is_the_originals(real_names):
    index = read_index(real_names)
    assert not index.unpaired_imitations and not index.unused_references
    split = split_pairs(index, seed=GOLDEN["seed"])
    assert [pair.imitation for pair in split.train[:3]] == GOLDEN["first_train_imitations"]
    parts = ("train", "interpolation", "extrapolation")
    sizes = {part: len(getattr(split, part)) for part in parts}
    assert sizes == {part: GOLDEN[f"n_{part}_pairs"] for part in sizes}


def test_every_name_is_a_readable_file(real_names):
    for name in ("references", "vocal_imitations"):
        paths = sorted((real_names / name).iterdir())[::50]
        rates_hz = {soundfile.info(path).samplerate for path in paths}
        assert rates_hz == set(stand_in.SAMPLE_RATES_HZ)


@pytest.mark.parametrize(
    ("num_imitations", "num_references"), [(1, 1), (100, 6), (12_202, 528), (12_453, 542)]
)
def test_any_size_has_a_reference_for_each_imitation(shared_dir, num_imitations, num_references):
    references, imitations = stand_in.names(shared_dir / "vimsketch_names", num_imitations)
    assert (len(references), len(imitations)) == (num_references, num_imitations)
    keys = [{name.partition("_")[2] for name in names} for names in (references, imitations)]
    assert keys[0] == keys[1] and len(set(imitations)) == num_imitations


def test_durations_are_vimsketchs(shared_dir, tmp_path):
    names_dir = shared_dir / "vimsketch_names"
    stand_in.write_stand_in(tmp_path / "data", 40, names_dir=names_dir, num_sounds=40)
    sounds = (tmp_path / "data" / "sounds" / "vocal_imitations").iterdir()
    durations_s = sorted(soundfile.info(path).duration for path in sounds)
    assert np.median(durations_s) == pytest.approx(4.4, rel=0.05)
    assert durations_s[0] >= 0.05 and durations_s[-1] <= 46.8
    assert sum(duration_s > 10.7 for duration_s in durations_s) == 4

"""The rows of the table, and when two sides count as the same."""

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the peers run in it")

from benchmarks import compute
from qvae_jax.models import decoders
from weight_port import names

# At once, as the import asks for two: where processes share cores, torch's wait for one another.
torch.set_num_threads(1)


def test_every_decoder_has_a_row():
    for decoder_type in names.DECODERS:
        assert f"decoder {decoder_type}, forward, batch 8" in compute.ROWS
    assert all(goal >= 2 for _, goal in compute.ROWS.values())


@pytest.mark.parametrize(
    ("difference", "agrees"), [(0.0, True), (0.9, True), (1.1, False), (np.nan, False)]
)
def test_sides_agree_up_to_the_bound(difference, agrees):
    theirs = np.float64([-4.0, 1.0, 0.0])
    ours = theirs + np.float64([0.0, 0.0, 4.0 * difference * compute.BOUND])
    if agrees:
        compute._check("a row", ours, theirs)
    else:
        with pytest.raises(SystemExit, match="a row: the two sides differ by"):
            compute._check("a row", ours, theirs)


def test_a_row_compares_the_same_forward_pass():
    row = compute.front_end(1)
    ours = row.value(row.ours()())
    compute._check("log-mel", ours, row.value(row.peers[compute.EAGER]()()))
    assert ours.shape == (1, 128, 1000) and row.gflop() > 0


def test_the_decoders_at_frame_rate_have_rows_of_their_own():
    named = {name for name in compute.BESIDE_OTHERS if name.startswith("decoder ")}
    assert len(named) == 4 and not compute.ROWS.keys() & compute.BESIDE_OTHERS.keys()
    for decoder_type in set(decoders.DECODERS) - set(names.DECODERS):
        assert any(decoder_type in name for name in named)


def test_a_row_of_ten_seconds_is_beside_one_of_a_whole_sound():
    make, _ = compute.BESIDE_OTHERS["renderer, 10 s beside 2.68 s"]
    row = make()
    ten, whole = (
        jax.eval_shape(function, *arguments).shape
        for function, *arguments in (compute._rendering(count) for count in (908, 243))
    )
    assert ten[1] / 22_050 == pytest.approx(10, abs=0.01) and whole == (1, decoders.NUM_SAMPLES)
    assert set(row.peers) == {compute.OTHER} and row.gflop() > 0


@pytest.mark.parametrize("decoder_type", ["steered", "original-plus"])
def test_a_step_of_either_side_gives_terms(decoder_type):
    step, state, batch = compute._step_of(decoder_type, 2)
    _, terms = jax.eval_shape(step, state, batch)
    own = {"magnitude", "gesture"} if decoder_type == "steered" else {"spectral", "mel", "waveform"}
    assert own | {"kl", "total"} <= terms.keys()
    assert compute._is_finite(state.trainable) == 1
    assert compute._is_finite({"a": np.float32([1, np.nan])}) == 0

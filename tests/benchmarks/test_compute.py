"""The rows of the table, and when two sides count as the same."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the peers run in it")

from benchmarks import compute
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

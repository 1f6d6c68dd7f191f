"""What the page is told of a model."""

import pytest

import steered_model
from qvae_jax.live_page.facts import facts


@pytest.mark.parametrize(("longest_s", "expected_s"), [(None, 60), (10.0, 10.0)])
def test_recordings_are_as_long_as_the_model_or_the_page_can_do(longest_s, expected_s):
    found = facts(steered_model.model(), longest_s=longest_s)
    assert (found["longest_s"], found["heard_s"], found["has_library"]) == (expected_s, 1.0, False)
    assert len(found["curves"]["lowest"]) == len(found["curves"]["highest"]) == 4

"""What a page says of its run: the checkpoint, the latent, the decoder, and where weights began."""

import pytest

import small_run
from plain_model import PlainModel
from qvae_jax.visualisation.facts import facts


class TrainedModel(PlainModel):
    source = {"workdir": "run", "step": 6}


def told(data_set, logged=(), **changes) -> dict[str, str]:
    return dict(facts(small_run.config(data_set, **changes), TrainedModel(), logged))


def test_a_model_is_described(data_set):
    assert told(data_set) == {
        "checkpoint": "step 6: the best one kept",
        "latent": "2 dimensions; sounds are made of its mean, z = μ",
        "decoder": "original-plus, width 1, 22,050 Hz",
        "encoder": (
            "MobileNetV3, width 0.1, frozen, from random weights; features of its last layer"
        ),
    }


def test_the_epoch_is_that_of_the_step(data_set):
    logged = [{"step": 3, "epoch": 1}, {"step": 6}, {"step": 6, "epoch": 2}]
    assert told(data_set, logged)["checkpoint"].startswith("step 6, epoch 2:")


@pytest.mark.parametrize("name", ["model.checkpoint", "model.encoder_checkpoint"])
def test_the_weights_origin_is_named(data_set, name):
    assert ", from ports/mn04; " in told(data_set, **{name: "ports/mn04"})["encoder"]


def test_the_way_of_training_is_in_words(data_set):
    assert "width 0.1, from scratch," in told(data_set, encoder="from_scratch")["encoder"]

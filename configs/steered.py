"""The steered decoder on VimSketch, and on a folder of sounds beside it where one is named.

python3 main.py --mode=train --config=configs/steered.py --workdir=runs/steered
"""

from configs import vimsketch


def get_config():
    """A frozen encoder, curves that are told and left out at random, magnitudes to be learnt."""
    config = vimsketch.get_config()
    config.model.encoder_checkpoint = "weights/mn04_as"  # small, and hears sounds as mn10 does
    config.model.decoder.type = "steered"
    # Features of unit norm differ by little, and it would take hundreds of steps to part them
    config.model.standardise_features = True
    config.training.encoder = "frozen"
    config.training.batch_size = 16
    config.training.num_epochs = 24  # of a library of 500 sounds: 800 steps, 7 minutes on two cores
    config.training.feature_noise = (
        0.1  # neighbours of a sound in the encoder's space sound like it
    )
    config.training.temperature = 0.3  # the prior's own noise would hide half of what is heard

    config.loss.spectral = config.loss.mel = config.loss.waveform = 0.0
    config.loss.magnitude = 1.0  # phases of noise cannot be learnt
    config.loss.gesture = 0.3  # of a size with the magnitude loss when both have fallen
    config.beta.schedule = "fixed"
    config.beta.fixed = 1e-4
    config.beta.free_bits = 0.1  # a dimension that says little costs nothing

    # As told to the renderer. Curves as they are give sounds that tremble like a voice
    config.steering.longest_filter_frames = 25  # 0.28 s
    # None is left to the gesture head: a sound as loud as another's curve says nothing of its colour
    config.steering.curve_dropout = 0.0
    config.steering.all_curves_dropout = 0.0

    config.optimizer.learning_rate = 1e-3
    config.optimizer.final_learning_rate = 1e-5
    config.optimizer.warmup_epochs = 1
    config.optimizer.beta1 = 0.9
    config.optimizer.beta2 = 0.99
    config.optimizer.weight_decay = 1e-2
    config.optimizer.clip_norm = 1.0
    config.ema.decay = 0.99
    config.ema.warm_up = True

    config.early_stopping.patience_epochs = 0
    config.validation.every_epochs = 4
    config.checkpoints.every_epochs = 4
    config.logging.samples_every_epochs = 12
    config.diagnostics.every_epochs = 12
    return config

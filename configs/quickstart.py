"""The newcomer's first run: a small model on synthetic pairs, minutes on two CPU cores."""

from configs import steered


def get_config():
    """Synthesises its own data set, so nothing is downloaded; every part of training runs."""
    config = steered.get_config()
    config.data.dataset_dir = ""  # empty: inside the workdir
    config.data.cache_dir = ""  # likewise
    config.data.synthesize = True
    config.data.input_duration_s = 4.0  # the synthetic imitations are no longer
    config.data.train_sound_ratio = 0.93  # of 13 sounds, one is kept for extrapolation
    config.data.train_imitation_ratio = 0.67  # of three imitations, one is for interpolation
    # Pretrained weights would be a download, so the encoder is a small random one that does not
    # learn. What its early layers make of sounds still tells them apart, unlike its pooled output.
    config.model.encoder_checkpoint = ""
    config.model.encoder_width = 0.1  # the smallest published width
    config.model.feature_space = "6"
    config.model.latent_dim = 16
    config.model.decoder.width = 0.5
    config.training.batch_size = 8
    config.training.num_epochs = 100  # of 3 steps
    config.training.temperature = 0.1  # at 1, noise hides the few differences to learn
    config.optimizer.learning_rate = 2e-3  # higher than for a whole model: this one is small
    config.optimizer.warmup_epochs = 2
    config.validation.every_epochs = 20
    config.checkpoints.every_epochs = 20
    config.logging.samples_every_epochs = 40
    config.diagnostics.every_epochs = 20
    config.report.at_end = True
    return config

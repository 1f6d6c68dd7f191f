"""The frame decoder learns eight pairs by heart: five to seven minutes on two cores.

    python3 main.py --mode=train --config=configs/by_heart.py --workdir=runs/by_heart \\
        --config.data.dataset_dir=FOLDER
"""

from configs import overfit


def get_config():
    """The original's loss, phases and all, at z = μ of a frozen encoder; 1,000 steps."""
    config = overfit.get_config()
    config.model.encoder_checkpoint = "weights/mn04_as"
    config.model.decoder.type = "frame"
    config.model.standardise_features = True
    config.training.temperature = 0.0  # noise of the latent would blur the phases
    config.training.steps_per_epoch = 50
    config.training.num_epochs = 20

    # Twice as high is unsteady, and half as high takes twice as long
    config.optimizer.learning_rate = 2e-3
    config.optimizer.final_learning_rate = 1e-5
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 1
    config.optimizer.beta1 = 0.9
    config.optimizer.beta2 = 0.95
    config.optimizer.weight_decay = 1e-2

    config.early_stopping.patience_epochs = 0
    config.validation.every_epochs = 4
    config.checkpoints.every_epochs = 20
    config.logging.samples_every_epochs = 20
    config.diagnostics.every_epochs = 20
    return config

"""The original's overfit test: can the model learn a few pairs by heart?"""

from configs import vimsketch


def get_config():
    """A frozen encoder, no KL term, a constant rate; 500 steps an epoch on the same few pairs."""
    config = vimsketch.get_config()
    config.overfit.num_pairs = 8  # 3 to 10, drawn from all pairs of the data set
    config.training.encoder = "frozen"
    config.training.batch_size = 8  # never more than the pairs
    config.training.steps_per_epoch = 500
    config.training.num_epochs = 100
    config.optimizer.schedule = "constant"
    config.beta.schedule = "fixed"
    config.early_stopping.patience_epochs = 20
    config.logging.num_samples = 8  # all of them
    return config

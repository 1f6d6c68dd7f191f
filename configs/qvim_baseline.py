"""Encoders for search by voice, by the recipe of the QVIM challenge's baseline (2025).

    python3 main.py --mode=pretrain --config=configs/qvim_baseline.py --workdir=runs/baseline

Two copies of mn10_as on VimSketch. The baseline trains on all pairs and is scored on QVIM-DEV
(MRR 0.2726, NDCG 0.6463); here a tenth of the sounds is held out, unless data.split is "all".
"""

from configs import vimsketch


def get_config():
    """The baseline's settings, number for number."""
    config = vimsketch.get_config()
    config.model.encoder_checkpoint = "weights/mn10_as"
    config.training.objective = "contrastive"
    config.training.encoder = "from_scratch"  # every layer learns, from these weights
    config.training.batch_size = 16
    config.training.num_epochs = 15

    config.contrast.temperature = 0.07
    config.contrast.shared_encoder = False
    config.contrast.same_sound = "wrong"

    config.augment.frequency_mask_mels = 2
    config.augment.time_mask_frames = 200
    config.augment.mel_low_hz = 10  # EfficientAT's own, as it fine-tunes
    config.augment.mel_high_hz = 2000

    config.optimizer.schedule = "rise_and_cosine"
    config.optimizer.learning_rate = 3e-4
    config.optimizer.final_learning_rate = 1e-4  # and the first one
    config.optimizer.warmup_epochs = 1
    config.optimizer.decay_epochs = 7
    config.optimizer.beta1 = 0.9
    config.optimizer.beta2 = 0.999
    config.optimizer.weight_decay = 0.0
    config.optimizer.clip_norm = 1e6  # it does not clip

    config.early_stopping.patience_epochs = 0
    config.early_stopping.min_delta = 0.0
    # They are of a latent, which is not here; `diagnose` reads the metrics.
    config.diagnostics.every_epochs = 0
    return config

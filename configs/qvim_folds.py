"""Encoders for search by voice, by the recipe and on the folds of Greif et al. (2024).

    python3 main.py --mode=pretrain --config=configs/qvim_folds.py --workdir=runs/fold0 \\
        --config.data.folds_dir=FOLDER --config.data.fold=0

Two copies of mn10_as on VimSketch; `extrapolation` in metrics.jsonl is what they report. Over ten
folds they find MRR 0.631 ± 0.027, recall at 1 of 0.479 and at 2 of 0.646, among the 53 sounds of the
test part.
"""

from configs import qvim_baseline


def get_config():
    """Their settings, number for number; their code runs 15 epochs, their paper says 30."""
    config = qvim_baseline.get_config()
    config.data.split = "folds"
    config.data.folds_dir = "data/vimsketch_folds"
    config.data.fold = 0

    config.training.batch_size = 32  # two parts of 16, one after the other: each tells 16 apart
    config.training.accumulation_steps = 2
    config.training.num_epochs = 15

    config.contrast.same_sound = "left_out"

    config.augment.roll_samples = 4000
    config.augment.frequency_mask_mels = 2
    config.augment.time_mask_frames = 400
    config.augment.mixstyle_probability = 0.3
    config.augment.mixstyle_alpha = 0.4

    config.optimizer.schedule = "exponential_and_line"
    config.optimizer.learning_rate = 5e-4
    config.optimizer.final_learning_rate = 5e-8  # 1e-4 of the full rate
    config.optimizer.warmup_epochs = 2
    config.optimizer.constant_epochs = 2
    config.optimizer.decay_epochs = 7
    return config

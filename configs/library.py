"""A folder of sounds alone: the steered decoder learns to make each from its own curves.

    python3 main.py --mode=train --config=configs/library.py --workdir=runs/library \\
        --config.data.sounds_dir=FOLDER
"""

from configs import steered


def get_config():
    """The recipe of configs/steered.py without any imitation."""
    config = steered.get_config()
    config.data.dataset_dir = ""
    config.data.sounds_dir = "data/sounds"
    # Heard by mn04, a voice says little of the sound that it means: the least squares estimate of
    # that sound's features takes 0.26 of those of 130 synthetic imitations
    config.model.voice_share = 0.25
    return config

"""The original's full training on VimSketch: fine-tuning the encoder, 300 epochs."""

import ml_collections
from ml_collections import config_dict


def get_config() -> ml_collections.ConfigDict:
    """The original's settings, number for number."""
    config = ml_collections.ConfigDict()

    config.data = ml_collections.ConfigDict()
    config.data.dataset_dir = "data/vimsketch"  # holds references/ and vocal_imitations/
    # A folder of sounds, without pairs or names, to learn from beside the pairs, or alone where
    # dataset_dir is empty; cut into windows of 2.68 s that are heard, and to be made, themselves
    config.data.sounds_dir = ""
    config.data.windows_per_file = 8  # at most, 21 s: a long file must not outweigh the others
    config.data.train_file_ratio = 0.9  # sounds_dir: share of files; the others are "library"
    config.data.synthesize = False  # first make a small synthetic data set in dataset_dir
    config.data.cache_dir = "data/cache"  # prepared arrays, a folder for each data set
    # Where the encoder's first layers do not learn, cache what they make of each log-mel instead of
    # the log-mel: at width 1 and layers 11 to 16, 2.0 GB instead of 3.2, and less to compute
    config.data.cache_trunk = False
    config.data.input_duration_s = 10.0  # EfficientAT's input; longer imitations are cut
    # or "folds": cross-validation folds from files; "all": train on all pairs, validate on them too
    config.data.split = "seeded"
    config.data.split_seed = 42  # seeded
    config.data.train_sound_ratio = 0.9  # seeded: share of sounds; the others are extrapolation
    # seeded: share of a sound's imitations; the others are interpolation
    config.data.train_imitation_ratio = 0.9
    config.data.folds_dir = ""  # folds: holds fold0/, fold1/, … and meta.csv
    config.data.fold = 0  # folds: the one whose sounds are held out
    config.data.on_bad_file = "stop"  # or "report": leave the file out and say so
    config.data.num_processes = 0  # reading audio in prepare; 0: one for each core, at most 8

    config.model = ml_collections.ConfigDict()
    config.model.encoder_checkpoint = ""  # folder of an encoder, or a pair; empty: random weights
    config.model.checkpoint = ""  # a whole ported QVAE to start from
    # Unset: the checkpoint's, or without one those of mn10_as.
    config.model.encoder_width = config_dict.placeholder(float)  # 1.0 is mn10, 0.4 mn04
    config.model.encoder_head = config_dict.placeholder(str)  # "mlp" or "fully_convolutional"
    config.model.encoder_strides = config_dict.placeholder(tuple)  # of layers 2, 4, 7 and 13
    config.model.encoder_classes = config_dict.placeholder(int)  # of the head: AudioSet's 527
    config.model.hop_length = config_dict.placeholder(int)  # of the log-mel, samples at 32 kHz
    config.model.num_mels = config_dict.placeholder(int)
    # Whether a pair's encoder of references hears sounds, data.sounds_dir's among them. Unset: where
    # encoder_checkpoint is a pair that differs and training.encoder is "frozen"
    config.model.sound_encoder = config_dict.placeholder(bool)
    config.model.feature_space = "final"  # or an encoder layer's number, "0" to "16"
    # Before the heads, each dimension of the features less its mean and divided by its spread over
    # the training inputs, both taken before the first step. The original does not: features of unit
    # norm then give means of about 0.05 beside noise of 1, and hundreds of steps pass before sounds
    # part. Not where features move far (training.encoder "from_scratch", or "fine_tuned" without a
    # checkpoint); and of an early layer's thousands of dimensions, all of spread 1, each step of
    # the optimiser moves the latent too far
    config.model.standardise_features = False
    # Where a model learns from sounds alone: how much counts of what sets a voice's features apart
    # from the mean of those sounds'. 1: all, as of a sound
    config.model.voice_share = 1.0
    config.model.latent_dim = 64
    # Of the sounds that are learnt and made. Or 44_100, with the decoders "frame" and "steered" alone:
    # what lies above 11 kHz, where references have it, on twice the disk and in more time
    config.model.sample_rate_hz = 22_050
    config.model.decoder = ml_collections.ConfigDict()
    # or "original", "original-res", "original-res-plus", "improved", "light_improved"; beyond the
    # original "frame" and "steered", whose layers are drawn in a way of their own
    config.model.decoder.type = "original-plus"
    config.model.decoder.init = "he_uniform"  # or "kaiming_scaled", "fixed_std"
    config.model.decoder.dropout = 0.05  # in training; only the improved decoders have any
    config.model.decoder.width = 1.0  # multiplies the channels; the original's is 1

    config.loss = ml_collections.ConfigDict()
    config.loss.spectral = 1.0
    config.loss.mel = 1.5
    config.loss.waveform = 1.0
    config.loss.magnitude = 0.0  # of each sound alone, its phases left out
    config.loss.gesture = 0.0  # steered: of the gesture head's curves
    config.loss.mask_silence = False  # ignore what follows the target's last audible frame
    config.loss.silence_threshold = 1e-4  # mean magnitude of a frame, or |sample|

    config.beta = ml_collections.ConfigDict()  # weight of the KL term
    config.beta.schedule = "linear"  # or "fixed", "cyclical"
    config.beta.fixed = 0.0
    config.beta.initial = 0.0  # linear: during warm-up
    config.beta.target = 1e-4  # linear: at the end of the ramp
    config.beta.rampup_fraction = 0.7  # linear: of all epochs
    config.beta.minimum = 0.0  # cyclical
    config.beta.maximum = 5e-5  # cyclical
    config.beta.cycle_steps = 4000  # cyclical
    config.beta.free_bits = 0.0  # nats that each dimension has for nothing
    config.beta.proportion = 0.6  # cyclical: of a cycle spent rising

    config.optimizer = ml_collections.ConfigDict()  # AdamW
    config.optimizer.learning_rate = 8e-4  # 8e-5 "for proper runs", its authors say
    config.optimizer.final_learning_rate = 1e-6
    # Or "constant"; "rise_and_cosine", from the final rate up to the full one and back down, by
    # step; "exponential_and_line", both of these by epoch
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 50
    config.optimizer.constant_epochs = 0  # exponential_and_line: at the full rate
    config.optimizer.decay_epochs = 1  # rise_and_cosine, exponential_and_line: back down
    config.optimizer.beta1 = 0.95
    config.optimizer.beta2 = 0.999
    config.optimizer.weight_decay = 1e-4
    config.optimizer.clip_norm = 2.0  # of the gradient over all trained parameters

    config.fine_tuning = ml_collections.ConfigDict()
    config.fine_tuning.layers = (11, 12, 13, 14, 15, 16)
    config.fine_tuning.learning_rate = 1.8e-5  # of the encoder; the rest uses the optimizer's
    # or "train", as in the original: BatchNorm of the layers that do not learn normalises by the
    # batch, and its running statistics drift; the drift reaches generation, so it is off
    config.fine_tuning.frozen_batch_norm = "frozen"

    config.training = ml_collections.ConfigDict()
    config.training.objective = "qvae"  # or "contrastive": encoders for search, --mode=pretrain
    config.training.encoder = "fine_tuned"  # or "frozen", "from_scratch"
    config.training.seed = 422
    config.training.batch_size = 32
    # To save memory, a batch is computed in this many parts, one after the other. The gradient is
    # their mean; BatchNorm and the spectral convergence see one part at a time
    config.training.accumulation_steps = 1
    config.training.dtype = "float32"  # or "bfloat16" for trunk and decoder, on accelerators
    config.training.num_epochs = 300
    config.training.steps_per_epoch = 0  # 0: one pass over the training pairs
    config.training.temperature = 1.0  # of the latent's noise; 0 trains on z = μ

    # Noise on standardised features, as a share of their spread: sounds beside the heard one
    config.training.feature_noise = 0.0

    config.ema = ml_collections.ConfigDict()  # moving average of the weights
    config.ema.decay = 0.0  # 0: none; 0.999 averages over 1000 steps. Used to validate and generate

    config.ema.warm_up = False  # begin with a short average: (1 + step) / (10 + step)

    config.steering = ml_collections.ConfigDict()  # of what a steered model is told in training
    config.steering.longest_filter_frames = 1  # median filter of a random odd length; 1: none
    config.steering.curve_dropout = 0.0  # how likely each curve is left to the gesture head
    config.steering.all_curves_dropout = 0.0  # how likely all are

    config.contrast = ml_collections.ConfigDict()  # contrastive: of imitations and sounds
    config.contrast.temperature = 0.07  # τ, by which cosines are divided
    config.contrast.learn_temperature = False  # or begin with it, and learn it
    config.contrast.shared_encoder = False  # one encoder for both sides, or two that begin alike
    # Where a sound stands twice in a batch: its other place is "left_out" of a row's softmax (Greif
    # et al., 2024), or counts as "wrong" (the QVIM baseline)
    config.contrast.same_sound = "left_out"
    config.contrast.triplet = 0.0  # weight of a triplet loss with semi-hard negatives
    config.contrast.triplet_margin = 0.6  # of cosine distances

    # Contrastive: what is done to both sides in training, drawn anew in each step
    config.augment = ml_collections.ConfigDict()
    config.augment.at_most_one = False  # of those up to time_mask_frames, one at most for a clip
    config.augment.roll_samples = 0  # shifted in a circle by up to this many, at 32 kHz
    config.augment.gain_db = 0.0  # louder or softer by up to this
    config.augment.noise_snr_db = ()  # white noise: the lowest and the highest ratio; (): none
    config.augment.pitch_semitones = 0.0  # up or down by up to this; on the host, 0.1 s a clip
    config.augment.stretch_factor = 1.0  # up to this many times as slow, or as fast; likewise
    config.augment.changed_frames = 0.0  # share of the log-mel's frames dropped, or doubled
    config.augment.frequency_mask_mels = 0  # one band masked, narrower than this
    config.augment.time_mask_frames = 0  # one stretch masked, shorter than this; 10 ms each
    # The mel bank's lower edge raised by less than mel_low_hz, and its upper one moved within a
    # range of mel_high_hz about its place; the same for all clips of a step's side
    config.augment.mel_low_hz = 0
    config.augment.mel_high_hz = 0
    # MixStyle (Zhou et al., 2021) over mel bands: a step's clips take on each other's levels
    config.augment.mixstyle_probability = 0.0  # of a step's side
    config.augment.mixstyle_alpha = 0.4  # of the Beta distribution that the shares come from

    config.parallel = "jit"  # or "pmap": how a step is spread over devices; same results
    config.batch_norm = "global"  # or "per_device": each device normalises by its own examples

    config.overfit = ml_collections.ConfigDict()
    config.overfit.num_pairs = 0  # 0: train on the split; else on this many of all pairs

    config.validation = ml_collections.ConfigDict()
    config.validation.every_epochs = 1
    config.validation.batch_statistics = False  # BatchNorm by the batch, not by running statistics

    config.early_stopping = ml_collections.ConfigDict()
    config.early_stopping.patience_epochs = 100  # 0: never stop early
    config.early_stopping.min_delta = 0.007  # of the interpolation loss

    config.checkpoints = ml_collections.ConfigDict()
    config.checkpoints.every_epochs = 1
    config.checkpoints.keep_best = 3  # besides the last

    config.logging = ml_collections.ConfigDict()
    config.logging.every_steps = 1
    config.logging.samples_every_epochs = 1
    config.logging.num_samples = 3  # of each part of the split
    config.logging.wandb = ""  # Weights & Biases project to log to as well; empty: none

    config.report = ml_collections.ConfigDict()
    config.report.at_end = False  # when training has ended, measure the run and make its page

    config.diagnostics = ml_collections.ConfigDict()  # what --mode=diagnose reads
    # 0: none. The original has 1. Each costs a gradient and five decoded batches, a second of
    # drawing and up to half a megabyte; thirty points over 300 epochs also show a trend
    config.diagnostics.every_epochs = 10
    # Of each validated part. This many give a variance to within 9 %, √(2/256)
    config.diagnostics.num_examples = 256
    return config

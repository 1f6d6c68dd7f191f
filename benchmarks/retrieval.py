"""`python -m benchmarks.retrieval ENCODER FOLDER`: what pretraining adds to search by voice.

On the synthetic data set of 13 sounds with 30 imitations each, ENCODER is pretrained four times
(--mode=pretrain by configs/qvim.py), each time without some of the sounds, so that every sound is
held out once. The imitations of held-out sounds are then searched among all 13. Printed are the MRR
before and after and, by a paired bootstrap over sounds, the 95 % interval of the difference.

--change=contrast.shared_encoder=False and the like tell other recipes, --pairs and --percussion
measure each of the four on real material besides: a folder of pairs, and one of vocal percussion
(kick_*, snare_*, hh_*) against the kicks, snares and hi-hats of a folder of sounds. FOLDER keeps
the data set and the runs; a benchmark that is stopped goes on from there.
"""

import argparse
import ast
import dataclasses
import pathlib

import numpy as np

from configs import qvim
from qvae_jax.audio import listing
from qvae_jax.audio.files import read_audio
from qvae_jax.data import layouts, synthetic
from qvae_jax.data.index import Index
from qvae_jax.evaluation import retrieval_metrics, statistics
from qvae_jax.evaluation.statistics import Estimate
from qvae_jax.models import stored
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.modes.pretrain import pretrain
from qvae_jax.modes.requests import PretrainRequest
from qvae_jax.retrieval.encoders import Encoder
from qvae_jax.runs import ENCODER

NUM_IMITATIONS, NUM_GROUPS = 30, 4
DURATION_S = 4.0  # of what encoders hear; no synthetic imitation is longer
STEPS_PER_EPOCH = 10
BATCH_SIZE = 16
DRUMS = {
    "kick": ("kick", "bd_", "drum_bass"),
    "snare": ("snare", "sn_"),
    "hh": ("hihat", "cymbal_closed", "cymbal_open", "cymbal_pedal"),
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoder", help="folder of a ported encoder")
    parser.add_argument("folder", type=pathlib.Path, help="of the data set and the runs")
    parser.add_argument("--epochs", type=int, default=10, help=f"of {STEPS_PER_EPOCH} steps")
    parser.add_argument("--change", action="append", default=[], help="SETTING=VALUE of the recipe")
    parser.add_argument("--pairs", help="folder of real pairs")
    parser.add_argument("--percussion", nargs=2, help="folders of vocal percussion, and of sounds")
    options = parser.parse_args()
    changes = dict(change.split("=", 1) for change in options.change)
    changes = {name: _parsed(value) for name, value in changes.items()}
    index = layouts.read_index(
        synthetic.write_synthetic_data_set(
            options.folder / "synthetic", num_imitations_per_sound=NUM_IMITATIONS
        )
    )
    groups = _groups(index, options.folder / "folds")
    name = "-".join(f"{n.rpartition('.')[2]}_{v}" for n, v in changes.items()) or "recipe"
    runs = [
        _pretrained(options, index, changes, options.folder / name / f"group_{group}", group)
        for group in range(NUM_GROUPS)
    ]
    print(f"{'':44}{'before':>8}{'after':>8}   difference, 95 % interval")
    _compare_synthetic(index, groups, options.encoder, runs)
    if options.pairs:
        _compare_pairs(layouts.read_index(options.pairs), options.encoder, runs)
    if options.percussion:
        _compare_percussion(*options.percussion, options.encoder, runs)


def _parsed(value: str):
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def _groups(index: Index, folder: pathlib.Path) -> list[set[str]]:
    """The sounds that each run holds out, which are also written as folds."""
    keys = list(index.references)
    groups = [set(keys[group::NUM_GROUPS]) for group in range(NUM_GROUPS)]
    for number, group in enumerate(groups):
        parts = {"train": [], "val": [], "test": [p for p in index.pairs if p.key in group]}
        for place, pair in enumerate(p for p in index.pairs if p.key not in group):
            parts["val" if place % 10 == 9 else "train"].append(pair)
        (folder / f"fold{number}").mkdir(parents=True, exist_ok=True)
        for part, pairs in parts.items():
            lines = ["\tfilename", *(f"{n}\t{pair.imitation}" for n, pair in enumerate(pairs))]
            (folder / f"fold{number}" / f"{part}.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return groups


def _pretrained(options, index: Index, changes: dict, workdir: pathlib.Path, group: int):
    """The folder of the encoders of a run without the sounds of a group."""
    config = qvim.get_config()
    config.data.dataset_dir = str(index.directory)
    config.data.cache_dir = str(options.folder / "cache")
    config.data.input_duration_s = DURATION_S
    config.data.split, config.data.fold = "folds", group
    config.data.folds_dir = str(options.folder / "folds")
    config.model.encoder_checkpoint = options.encoder
    config.training.batch_size = BATCH_SIZE
    config.training.steps_per_epoch = STEPS_PER_EPOCH
    config.training.num_epochs = options.epochs
    config.validation.every_epochs = config.checkpoints.every_epochs = options.epochs
    config.augment.roll_samples = int(0.3 * DURATION_S * 32_000)
    config.diagnostics.every_epochs = 0
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    if not pretrain(config, PretrainRequest(workdir=str(workdir))):
        raise SystemExit("stopped; the same command goes on from here")
    return workdir / ENCODER


# --- What is measured


def _compare_synthetic(index: Index, groups: list[set[str]], encoder: str, runs: list) -> None:
    """Each imitation among all sounds, by the run that has not heard its sound."""
    keys = list(index.references)
    references = [index.references_dir / index.references[key] for key in keys]
    found = {"before": [], "after": []}
    for group, run in zip(groups, runs, strict=True):
        pairs = [pair for pair in index.pairs if pair.key in group]
        queries = [index.imitation_path(pair) for pair in pairs]
        right = np.array([keys.index(pair.key) for pair in pairs])
        relevant = right[:, None] == np.arange(len(keys))
        for when, folder in (("before", encoder), ("after", run)):
            measured = _measured(folder, queries, references, right, relevant)
            found[when].append((right, measured))
    for name in ("mrr", "recall_at_1"):
        by_sound = {
            when: _means(*(np.concatenate(p) for p in zip(*((r, m[name]) for r, m in parts))))
            for when, parts in found.items()
        }
        _print(f"synthetic, held-out sounds, {name}", by_sound["before"], by_sound["after"])


def _compare_pairs(index: Index, encoder: str, runs: list) -> None:
    """Each real imitation among all references of its folder."""
    keys = list(index.references)
    references = [index.references_dir / index.references[key] for key in keys]
    queries = [index.imitation_path(pair) for pair in index.pairs]
    right = np.array([keys.index(pair.key) for pair in index.pairs])
    relevant = right[:, None] == np.arange(len(keys))
    _compare_runs(
        "real pairs", encoder, runs, queries, references, right, relevant, ("mrr", "ndcg")
    )


def _compare_percussion(voices: str, sounds: str, encoder: str, runs: list) -> None:
    """Each kick, snare and hi-hat by mouth among those of a library, by class."""
    queries, _ = listing.list_audio_files(pathlib.Path(voices))
    items, _ = listing.list_audio_files(pathlib.Path(sounds))
    classes = [_drum(path) for path in items]
    items = [path for path, drum in zip(items, classes) if drum]
    classes = np.array([drum for drum in classes if drum])
    kinds = np.array([path.name.partition("_")[0].lower() for path in queries])
    relevant = kinds[:, None] == classes
    right = np.argmax(relevant, axis=1)
    names = ("ndcg", "first_of_class")
    _compare_runs(
        f"percussion among {len(items)} drums",
        encoder,
        runs,
        queries,
        items,
        right,
        relevant,
        names,
    )


def _drum(path: pathlib.Path) -> str | None:
    named = (drum for drum, words in DRUMS.items() if any(word in path.stem for word in words))
    return next(named, None) if path.stem.startswith(("bd_", "sn_", "drum_", "elec_")) else None


def _compare_runs(title, encoder, runs, queries, items, right, relevant, names) -> None:
    """Each measure of the queries before, and after as the mean over the runs."""
    before = _measured(encoder, queries, items, right, relevant)
    after = [_measured(run, queries, items, right, relevant) for run in runs]
    for name in names:
        mean = np.mean([measured[name] for measured in after], axis=0)
        _print(f"{title}, {name}", before[name], mean)


def _measured(folder, queries, items, right, relevant) -> dict[str, np.ndarray]:
    pair = stored.encoder_folders(folder)
    query, item = _embedded(pair.imitation, queries), _embedded(pair.reference, items)
    found = retrieval_metrics.retrieval(query, item, right, relevant)
    similarity = retrieval_metrics.cosine_similarity(query, item)
    best = np.where(relevant, similarity, -np.inf).max(axis=1, keepdims=True)
    return found | {"first_of_class": 1 / (1 + (similarity > best).sum(axis=1))}


def _embedded(folder: pathlib.Path, paths: list[pathlib.Path]) -> np.ndarray:
    """Embeddings of the first seconds of sounds, [paths, channels]."""
    config = QVAEConfig.from_dict(stored.description_of(folder, "encoder"))
    front_end = dataclasses.replace(config.front_end, duration_s=DURATION_S)
    config = dataclasses.replace(config, front_end=front_end)
    encoder = Encoder(config, stored.load_encoder(str(folder)))
    rate_hz = front_end.sample_rate_hz
    waveforms = [read_audio(path, rate_hz, max_duration_s=DURATION_S) for path in paths]
    return encoder.embed(waveforms, list(map(str, paths)), BATCH_SIZE)


def _means(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.bincount(groups, values) / np.bincount(groups)


def _print(title: str, before: np.ndarray, after: np.ndarray) -> None:
    gain: Estimate = statistics.of_mean(after - before)
    print(
        f"{title:44}{before.mean():8.3f}{after.mean():8.3f}   "
        f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] of {len(before)}",
        flush=True,
    )


if __name__ == "__main__":
    main()

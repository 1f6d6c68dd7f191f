"""A model card, as the Hugging Face Hub shows it: what a model is, learnt from and was measured at."""

import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import jinja2

from qvae_jax.data import split_record, splits
from qvae_jax.data.catalogue import has_pairs
from qvae_jax.evaluation import report
from qvae_jax.generation.model import Model
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.runs import EVALUATION, RunFolder
from qvae_jax.system.errors import UserError, counted

TEMPLATES = pathlib.Path(__file__).parent
UNKNOWN = "unknown"  # the Hub's own word for a licence that is not stated
LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
MARKS = re.compile(r"([\\`*_{}\[\]<>#|~$&])")  # that mean something in Markdown


class Measured(NamedTuple):
    """One result of an evaluation, to show.

    Attributes:
        title: the part, and on how much it was measured.
        of_another_step: the step of the checkpoint that was measured; None where it is the model's.
        embedder: what retrieval and distances of sets are by; empty where there are none.
        silence: in which measures a silent output wins; empty where in none.
        tables: the measures.
    """

    title: str
    of_another_step: int | None
    embedder: str
    silence: str
    tables: Sequence[report.Table]


def written(model: Model, run: RunFolder | None, licence: str | None) -> str:
    """The card's text, in Markdown; run is the one that the model comes from, if any.

    Folders are called by their last names alone, for where they lie is nobody else's business.
    Raises UserError for a licence that the Hub cannot have, and for damaged results of an evaluation.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = _plain
    return environment.get_template("model_card.md").render(
        licence=_checked(licence),
        title=_title(model),
        facts=_facts(model),
        data=[] if run is None else _data(run),
        measured=[] if run is None else _measured(run, model.source.get("step")),
        to_measure=_to_measure(run),
        rate_hz=model.sample_rate_hz,
    )


def _checked(licence: str | None) -> str:
    licence = UNKNOWN if licence is None else licence.lower()
    if not LICENCE.fullmatch(licence):
        raise UserError(
            f"--licence is {licence!r}: write the Hub's name of a licence, such as mit or cc-by-4.0, "
            "or other."
        )
    return licence


def _plain(text: str) -> str:
    """Any text as one line of Markdown that means itself."""
    return MARKS.sub(r"\\\1", " ".join(str(text).split()))


def _last_name(folder: str | pathlib.Path) -> str:
    return pathlib.Path(folder).resolve().name


def _title(model: Model) -> str:
    """The last name of the model's folder."""
    folder = model.source.get("workdir") or model.source.get("checkpoint")
    return _last_name(folder) if folder else "A model of qvae_jax"


def _facts(model: Model) -> list[tuple[str, str]]:
    config, front_end = model.config, model.front_end
    size = sum(array.size for part in model.variables for array in part.values())
    lasts_s = config.num_samples / config.sample_rate_hz
    as_voice = ", or as long as the voice, up to a minute" if model.is_steered else ""
    of_step = f", of the run's step {model.source['step']}" if "step" in model.source else ""
    return [
        ("hears", f"mono at {front_end.sample_rate_hz} Hz, the first {front_end.duration_s:g} s"),
        ("encoder", f"MobileNetV3, {config.encoder_width:g} times as wide as mn10"),
        ("features", _features(config)),
        ("latent", f"{config.latent_dim} dimensions"),
        ("decoder", f"{config.decoder_type}, width {config.decoder_width:g}"),
        ("gives", f"mono at {config.sample_rate_hz} Hz, {lasts_s:.2f} s{as_voice}"),
        ("weights", f"{size:,} numbers{of_step}"),
    ]


def _features(config: QVAEConfig) -> str:
    layer = config.feature_space
    of_layer = "of its last layer, pooled" if layer == "final" else f"of its layer {layer}"
    if config.voice_share == 1:
        return of_layer
    return f"{of_layer}; of a voice's, a share of {config.voice_share:g} counts"


def _data(run: RunFolder) -> list[str]:
    """What the run learnt from and began with, by its config and its recorded split."""
    config, lines = run.config, []
    if has_pairs(config):
        made = "a small data set synthesised by qvae_jax"
        named = f"the data set {_last_name(run.dataset_dir)}"
        lines.append(f"pairs of imitation and sound: {made if config.data.synthesize else named}")
    if config.data.sounds_dir:
        lines.append(f"sounds without imitations: the folder {_last_name(config.data.sounds_dir)}")
    recorded = split_record.recorded_split(run.folder)
    lines += [] if recorded is None else [_split(recorded)]
    return [*lines, _beginning(config), f"at most {counted(config.training.num_epochs, 'epoch')}"]


def _split(recorded: split_record.SplitRecord) -> str:
    """How much is in each part of the split."""
    parts = []
    for part in recorded.names:
        pairs = len(recorded.parts.get(part, ()))
        windows = sum(map(len, recorded.sounds.get(part, {}).values()))
        counts = [counted(n, what) for n, what in ((pairs, "pair"), (windows, "window")) if n]
        parts.append(f"{part} {' and '.join(counts)}")
    return f"split: {'; '.join(parts)}"


def _beginning(config) -> str:
    """Where the weights began, and what of the encoder learnt."""
    named = config.model.checkpoint or config.model.encoder_checkpoint
    learning = {"frozen": "not trained", "fine_tuned": "fine-tuned", "from_scratch": "trained"}
    how = learning[config.training.encoder]
    if not named:
        return f"the encoder began with random weights and was {how}"
    what = "all weights" if config.model.checkpoint else "the encoder's weights"
    return f"{what} began as those of {_last_name(named)}; the encoder was {how}"


def _measured(run: RunFolder, step: int | None) -> list[Measured]:
    """The results of --mode=evaluate in the run's folder, in the order of the split's parts."""
    paths = sorted((run.folder / EVALUATION).glob("*.json"), key=_place)
    return [_shown(report.read(path), step) for path in paths]


def _place(path: pathlib.Path) -> tuple[int, str]:
    part = path.stem.removesuffix("-trimmed")
    place = splits.PARTS.index(part) if part in splits.PARTS else len(splits.PARTS)
    return place, path.stem


def _shown(found: dict, step: int | None) -> Measured:
    of = found["model"].get("step")
    # What embeds may be named by a path, of which only the last name is shown.
    by = "" if found["part"] == report.VOICES else report.about_embedder(found)
    return Measured(
        title=f"{found['part']}: {report.counts(found)}",
        of_another_step=None if of == step else of,
        embedder=re.sub(r" in .*/", " in ", by),
        silence=report.about_silence(found),
        tables=report.tables(found),
    )


def _to_measure(run: RunFolder | None) -> str:
    if run is not None:
        return "qvae --mode=evaluate --workdir=RUN"
    return "qvae --mode=evaluate --checkpoint=FOLDER --pairs=PAIRS --output_dir=MEASURED"

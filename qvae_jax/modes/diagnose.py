"""`--mode=diagnose`: how a run's latent and gradients evolved, in one picture and a verdict."""

import pathlib

from qvae_jax import configuration
from qvae_jax.diagnostics import encoder_history, figures, files, verdicts
from qvae_jax.diagnostics.arrays import Snapshot
from qvae_jax.modes.requests import DiagnoseRequest
from qvae_jax.runs import DIAGNOSTICS, read_metrics
from qvae_jax.system.errors import UserError
from qvae_jax.system.files import make_folder

HISTORY_PICTURE = "history.png"


def diagnose(request: DiagnoseRequest) -> list[str]:
    """Prints and gives the verdict on a run, and draws its history into `diagnostics/history.png`.

    Of encoders for search it is drawn from metrics.jsonl; that needs no diagnostics.

    Raises UserError for a folder without a run or diagnostics, and for damaged ones.
    """
    workdir = pathlib.Path(request.workdir)
    if configuration.read_run(workdir).training.objective == configuration.CONTRASTIVE:
        return _of_encoders(workdir)
    clip_norm = _clip_norm(workdir)
    snapshots = files.read_all(workdir)
    metrics = read_metrics(workdir)
    said = verdicts.verdicts(snapshots, clip_norm)
    print(_table(snapshots))
    for sentence in said:
        print(sentence)
    path = workdir / DIAGNOSTICS / HISTORY_PICTURE  # last, for it may fail
    figures.save_history(path, snapshots, metrics, " ".join(said))
    print(f"picture: {path}")
    return said


def _of_encoders(workdir: pathlib.Path) -> list[str]:
    """The same of encoders for search, which have no latent: by what their run has logged."""
    metrics = read_metrics(workdir)
    said = encoder_history.verdicts(metrics)
    for sentence in said:
        print(sentence)
    path = workdir / DIAGNOSTICS / HISTORY_PICTURE
    make_folder(path.parent)
    encoder_history.save_history(path, metrics, " ".join(said))
    print(f"picture: {path}")
    return said


def _clip_norm(workdir: pathlib.Path) -> float:
    """The norm that the run clips its gradient at; UserError where its config does not say."""
    try:
        return float(configuration.value(configuration.read_run(workdir), "optimizer.clip_norm"))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{workdir / configuration.CONFIG_FILE} holds no number optimizer.clip_norm: it may be "
            "damaged."
        ) from error


def _table(snapshots: list[Snapshot]) -> str:
    """Epochs from the first to the last, ten lines at most, in numbers."""
    head = f"{'epoch':>8}"
    for part in snapshots[0].parts:
        head += f"{f'{part}: KL (nats)':>26}{'active':>8}{'spread (dB)':>13}"
    lines = [head]
    shown = sorted({round(i * (len(snapshots) - 1) / 9) for i in range(10)})
    for snapshot in (snapshots[i] for i in shown):
        line = f"{snapshot.epoch:8}"
        for part in snapshot.parts:
            kl = snapshot.of(part, "kl_per_sample").mean()
            active = snapshot.of(part, "active").sum()
            line += f"{kl:26.3f}{active:8}{snapshot.of(part, 'spread_db').mean():13.2f}"
        lines.append(line)
    return "\n".join(lines)

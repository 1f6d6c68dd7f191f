"""From which similarity on a query is like something: fitted on queries whose sounds are known.

A query is said to be unlike a whole library where even its nearest sound is less similar than the
threshold. That is the k-th lowest of the similarities of n validation queries to their own sounds.
Another query of their kind, whose own sound is in the library, then falls below it with a
probability of at most k / (n + 1), whatever the similarities' distribution (split conformal
prediction: Vovk, Gammerman & Shafer 2005): its own sound does so no more often, and its nearest one
is no less similar than its own.
"""

import dataclasses
import math
import pathlib
from collections.abc import Sequence

import numpy as np

from qvae_jax.audio.windows import Sound, read_sound
from qvae_jax.models.batching import batches
from qvae_jax.retrieval.encoders import Encoder, Encoders
from qvae_jax.retrieval.index import BATCH_SIZE
from qvae_jax.system import files
from qvae_jax.system.errors import UserError
from qvae_jax.system.progress import progress_bar

THRESHOLD_FILE = "search_threshold.json"
READ_AT_ONCE = 64  # sounds, of which those of each length fill batches
FALSE_ALARM_RATE = 0.05  # wanted; with fewer than 19 queries, the lowest that they can promise


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Where similarity begins, and how well that is known.

    Attributes:
        similarity: the cosine below which a query is said to be unlike everything.
        false_alarm_rate: of queries whose sound is in the library, at most so many are.
        detection_rate: of the validation queries, so many are, once their own sound is taken out of
            the validation sounds; None where nothing is left then.
        num_queries: the validation queries.
        of: what they were, for messages.
    """

    similarity: float
    false_alarm_rate: float
    detection_rate: float | None
    num_queries: int
    of: str


def fit(encoders: Encoders, pairs: Sequence[tuple[Sound, Sound]], of: str) -> Threshold:
    """The threshold by pairs of a query and its own sound, at least one, heard by their encoders.

    of is what they are. Raises UserError for a file that cannot be read.
    """
    places = {}
    own = np.array([places.setdefault(str(sound), len(places)) for _, sound in pairs])
    sounds = {str(sound): sound for _, sound in pairs}
    bar = progress_bar("hearing the pairs", total=len(pairs) + len(sounds), unit="file")
    with bar:
        queries = _embedded(encoders.imitation, [query for query, _ in pairs], bar)
        references = _embedded(encoders.reference, list(sounds.values()), bar)
    return fitted(queries.astype(np.float64) @ references.T, own, of)


def fitted(similarity: np.ndarray, own: np.ndarray, of: str) -> Threshold:
    """The threshold by validation queries.

    Args:
        similarity: cosines [queries, sounds], of at least one query.
        own: which sound each query imitates, [queries].
        of: what the queries are.
    """
    num_queries, num_sounds = similarity.shape
    to_own = np.take_along_axis(similarity, own[:, None], axis=1)[:, 0]
    place = max(1, math.floor(FALSE_ALARM_RATE * (num_queries + 1)))
    lowest = float(np.sort(to_own)[place - 1])
    detection_rate = None
    if num_sounds > 1:
        others = np.where(np.arange(num_sounds) == own[:, None], -np.inf, similarity)
        detection_rate = float((others.max(axis=1) < lowest).mean())
    return Threshold(lowest, place / (num_queries + 1), detection_rate, num_queries, of)


def write(folder: pathlib.Path, encoders: Encoders, threshold: Threshold) -> None:
    """Keeps a threshold in the folder of its encoders, or of the run that they belong to."""
    facts = {**_digests(encoders), **dataclasses.asdict(threshold)}
    files.write_json(pathlib.Path(folder) / THRESHOLD_FILE, facts)


def read(folder: pathlib.Path, encoders: Encoders) -> Threshold | None:
    """The threshold kept in a folder; None where there is none, or one of other encoders.

    Raises UserError for a file that is damaged.
    """
    path = pathlib.Path(folder) / THRESHOLD_FILE
    if not path.is_file():
        return None
    found = files.read_json(path)
    try:
        digests = {name: found.pop(name) for name in Encoders._fields}
        threshold = Threshold(**found)
        is_whole = (
            abs(threshold.similarity) < 1.001
            and 0 < threshold.false_alarm_rate < 1
            and (threshold.detection_rate is None or 0 <= threshold.detection_rate <= 1)
            and threshold.num_queries > 0
        )
    except (AttributeError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        raise UserError(f"{path} is damaged: remove it, and fit the threshold again with --pairs.")
    return threshold if digests == _digests(encoders) else None


def first_of(folders: Sequence[pathlib.Path], encoders: Encoders) -> Threshold | None:
    """The threshold in the first of some folders that has one of these encoders; None without any."""
    return next(filter(None, (read(folder, encoders) for folder in folders)), None)


def _embedded(encoder: Encoder, sounds: Sequence[Sound], bar) -> np.ndarray:
    rate_hz, longest_s = encoder.front_end.sample_rate_hz, encoder.front_end.duration_s
    found = []
    for batch in batches(sounds, READ_AT_ONCE):
        waveforms = [read_sound(sound, rate_hz, max_duration_s=longest_s) for sound in batch]
        found.append(encoder.embed(waveforms, list(map(str, batch)), BATCH_SIZE))
        bar.update(len(batch))
    return np.concatenate(found)


def _digests(encoders: Encoders) -> dict[str, str]:
    return {name: getattr(encoders, name).digest for name in Encoders._fields}

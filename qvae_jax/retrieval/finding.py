"""What a search has found, as it is looked up, told and written."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from qvae_jax.retrieval.encoders import Encoders
from qvae_jax.retrieval.index import Index
from qvae_jax.retrieval.search import nearest
from qvae_jax.retrieval.threshold import Threshold


@dataclasses.dataclass(frozen=True)
class Found:
    """One sound of a library: its name and file, how similar it is, and what is known of its file."""

    rank: int
    name: str
    path: pathlib.Path
    similarity: float
    duration_s: float
    sha256: str

    @property
    def facts(self) -> dict:
        """For JSON."""
        return {**dataclasses.asdict(self), "path": str(self.path)}


@dataclasses.dataclass(frozen=True)
class Library:
    """A library that can be asked for what is nearest to a query.

    Attributes:
        index: its sounds.
        encoders: what hears the queries, and has heard the sounds.
        threshold: from which similarity on a query is like anything; None where that is not known.
    """

    index: Index
    encoders: Encoders
    threshold: Threshold | None = None

    def nearest(
        self, waveforms: Sequence[np.ndarray], names: Sequence[str], count: int
    ) -> list[list[Found]]:
        """For each query the sounds nearest to it, nearest first; count of them, if there are.

        waveforms are floats [samples] at the rate that the imitations' encoder hears. They are heard
        one by one, so that one program hears any number of them. Raises UserError as Encoder.embed
        does.
        """
        queries = self.encoders.imitation.embed(waveforms, names, batch_size=1)
        rows, cosines = nearest(queries, self.index.embeddings, count)
        return [
            [self._found(rank, *of_row) for rank, of_row in enumerate(zip(*of_query), 1)]
            for of_query in zip(rows.tolist(), cosines.tolist())
        ]

    def is_unlike(self, found: Sequence[Found]) -> bool | None:
        """Whether a query that found these is unlike the whole library; None where unknown."""
        if self.threshold is None:
            return None
        return found[0].similarity < self.threshold.similarity

    def _found(self, rank: int, row: int, cosine: float) -> Found:
        entry = self.index.entries[row]
        path = self.index.path(row)
        return Found(rank, entry.name, path, cosine, entry.duration_s, entry.sha256)


def table(found: Sequence[Found]) -> str:
    """The sounds as lines of text; a name that would not stay in its line is written escaped."""
    rows = [(str(f.rank), f"{f.similarity:.3f}", f"{f.duration_s:.2f}", f.name) for f in found]
    lines = [("rank", "cosine", "seconds", "file"), *rows]
    return "\n".join(
        f"{rank:>6}{cosine:>8}{seconds:>10}  {printable(name)}"
        for rank, cosine, seconds, name in lines
    )


def printable(name: str) -> str:
    """A name for a line of text: its escapes, in quotes, where it holds what does not print."""
    return name if name.isprintable() else repr(name)


def told_unlike(library: Library, found: Sequence[Found]) -> str | None:
    """A line where a query is unlike everything; None where it is not, or that cannot be told."""
    if not library.is_unlike(found):
        return None
    threshold = library.threshold
    return (
        f"unlike anything in {library.index.directory}: the nearest lies at "
        f"{found[0].similarity:.3f}, below {threshold.similarity:.3f} {said_of(threshold)}"
    )


def said_of(threshold: Threshold) -> str:
    """How often that is wrong, for a message."""
    missed = (
        ""
        if threshold.detection_rate is None
        else f", and {threshold.detection_rate:.0%} of those whose sound is taken out do"
    )
    return (
        f"(at most {threshold.false_alarm_rate:.1%} of queries whose sound is there fall below, by "
        f"{threshold.num_queries} of {threshold.of}{missed})"
    )

"""What a search has found as one HTML file that needs nothing else: each query, and its sounds."""

import dataclasses
import pathlib
from collections.abc import Sequence

from qvae_jax.audio.windows import read_sound
from qvae_jax.generation.inputs import Heard
from qvae_jax.retrieval.finding import Found
from qvae_jax.visualisation import cards, page
from qvae_jax.visualisation.page import Player

SAMPLE_RATE_HZ = 32_000  # of the sounds found, as most encoders hear them
LONGEST_S = 10.0  # of these sounds, of which no encoder hears more


@dataclasses.dataclass(frozen=True)
class Query:
    """One query: its title, what there is to say of it, and the sounds to play, itself first."""

    title: str
    note: str
    players: Sequence[Player]


@dataclasses.dataclass(frozen=True)
class SearchPage:
    """Everything that the page of a search shows; any text may hold any character."""

    title: str
    facts: Sequence[tuple[str, str]]
    queries: Sequence[Query]


def write(path: pathlib.Path, shown: SearchPage) -> int:
    """Writes the page as an HTML file; gives its size in bytes."""
    num_players = sum(len(query.players) for query in shown.queries)
    return page.write_rendered(path, "search.html", num_players, page=shown)


def hummed(heard: Heard, name: str, sample_rate_hz: int) -> Player:
    """What was heard of a query of this name, to play."""
    return cards.player("query", name, heard.samples, sample_rate_hz)


def sound(found: Found) -> Player:
    """A sound that was found, to play: up to its first 10 s. UserError where it cannot be read."""
    samples = read_sound(found.path, SAMPLE_RATE_HZ, max_duration_s=LONGEST_S)
    notes = [f"cosine {found.similarity:.3f}"]
    if found.duration_s > LONGEST_S:
        notes.append(f"the first {LONGEST_S:g} s of {found.duration_s:.1f} s")
    return cards.player(f"{found.rank}", found.name, samples, SAMPLE_RATE_HZ, notes)

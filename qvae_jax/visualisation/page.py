"""A run as one HTML file that needs nothing else: sounds, pictures and tables."""

import base64
import dataclasses
import io
import pathlib
from collections.abc import Sequence

import jinja2

from qvae_jax.system import files

TEMPLATES = pathlib.Path(__file__).parent
PICTURE_QUALITY = 86  # of WebP, 0 to 100: no difference to see, in a third of the bytes
# Chromium opens 1000 on a page and no more; on a page with more than these, each opens when played.
MOST_OPEN_PLAYERS = 900


@dataclasses.dataclass(frozen=True)
class Player:
    """One sound to play: its role, its file's name where it has one, what is said of it, FLAC."""

    role: str
    name: str
    duration_s: float
    notes: Sequence[str]
    flac: bytes

    @property
    def source(self) -> str:
        """The sound as an address."""
        return _data_address("audio/flac", self.flac)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture in a file, and what it shows, for those who cannot see it.

    lossless is for drawings of thin lines, which compression would blur; they are small.
    """

    path: pathlib.Path
    description: str
    lossless: bool = False


@dataclasses.dataclass(frozen=True)
class Card:
    """One sample: what stands above it, its sounds and their picture."""

    title: str
    players: Sequence[Player]
    picture: Picture


@dataclasses.dataclass(frozen=True)
class Part:
    """The samples shown of one part of the split, and what to know of it."""

    name: str
    about: str
    cards: Sequence[Card]


@dataclasses.dataclass(frozen=True)
class Table:
    """Numbers: a row for each measure, its title first; the head names the other columns."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Page:
    """Everything that the page of a run shows; any text may hold any character.

    command makes measures that the tables lack; empty where there are none to make.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    tables: Sequence[Table]
    about_tables: str
    command: str
    losses: Picture
    parts: Sequence[Part]


def write(path: pathlib.Path, page: Page) -> int:
    """Writes the page as an HTML file; gives its size in bytes."""
    cards = [card for part in page.parts for card in part.cards]
    pictures = [page.losses, *(card.picture for card in cards)]
    images = {picture: _image(picture) for picture in pictures}
    num_players = sum(len(card.players) for card in cards)
    return write_rendered(path, "page.html", num_players, page=page, images=images)


def write_rendered(path: pathlib.Path, template: str, num_players: int, **values) -> int:
    """Writes a template of this folder, filled in with values, as an HTML file; gives its bytes.

    num_players is how many sounds it has.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    preload = "metadata" if num_players <= MOST_OPEN_PLAYERS else "none"
    text = environment.get_template(template).render(preload=preload, **values)
    # Bytes of a file's name that are not UTF-8 become question marks.
    content = text.encode("utf-8", "replace")
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)
    return len(content)


@dataclasses.dataclass(frozen=True)
class _Image:
    """A picture as an address, and its size in pixels."""

    source: str
    width: int
    height: int


def _image(picture: Picture) -> _Image:
    # Imported here because it takes a second that nothing else should wait for.
    from PIL import Image

    how = {"lossless": True} if picture.lossless else {"quality": PICTURE_QUALITY}
    with Image.open(picture.path) as image:
        content = io.BytesIO()
        image.convert("RGB").save(content, format="webp", **how)
        return _Image(_data_address("image/webp", content.getvalue()), *image.size)


def _data_address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"

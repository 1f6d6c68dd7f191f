"""Names of files as pictures can show them: in fonts that have their characters, or escaped.

Names come in any script. matplotlib's own font has Latin, Greek and Cyrillic letters and few
others, and a box stands for what it lacks. So other installed fonts help out, and what none of them
can draw stands as its code, \\u72ac, which is at least its own.
"""

import functools
import unicodedata
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

OWN_FAMILY = "DejaVu Sans"  # comes with matplotlib
FAVOURITES = "Noto Sans"  # fonts made for every script, each with the others in mind
BOXES_ALONE = "lastresort"  # a font that has every character, and draws none
# Controls of direction and joining, and variation selectors: nothing is seen of them in any name.
UNSEEN_CATEGORY, SELECTORS = "Cf", range(0xFE00, 0xFE10)
SPACES = "Zs"  # of any width
NEVER_DRAWN = ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")  # categories of characters without a shape
MARKS, FROM_RIGHT = ("Mn", "Mc", "Me"), ("R", "AL")


class Lettering(NamedTuple):
    """A text that can be drawn, and the families of fonts that draw it, the first choice first."""

    text: str
    families: tuple[str, ...]


def lettering(text: str) -> Lettering:
    """The text on one line, with an escape for each character that no installed font can draw.

    Says once in a process that there are such characters.
    """
    drawn, families, base = [], [OWN_FAMILY], None
    for character in unicodedata.normalize("NFC", text):
        category = unicodedata.category(character)
        if category == UNSEEN_CATEGORY or ord(character) in SELECTORS:
            continue
        character = " " if category == SPACES else character
        family = _family_after(base, character)
        drawn.append(_escaped(character) if family is None else character)
        base = family or OWN_FAMILY
        if base not in families:
            families.append(base)
    return Lettering("".join(drawn), tuple(families))


def _family_after(base: str | None, character: str) -> str | None:
    """The family that draws a character after one of the family base; None where none does."""
    family = _family_of(character)
    if base is None or unicodedata.category(character) not in MARKS:
        return family
    # A mark is drawn as one with what stands before it, by the same font.
    return base if family and ord(character) in _characters(base) else None


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in NEVER_DRAWN:
        _say_that_fonts_lack_characters()
    return character.encode("unicode_escape").decode()


@functools.cache
def _say_that_fonts_lack_characters() -> None:
    tqdm.write(
        "Names in pictures hold characters that no installed font has; they stand there as their "
        "codes, such as \\u72ac. Install a font that has them, one of Noto's for example."
    )


@functools.cache
def _family_of(character: str) -> str | None:
    """The first family of fonts that draws a character; None where none does."""
    if unicodedata.category(character) in NEVER_DRAWN or not _can_be_placed(character):
        return None
    code = ord(character)
    if code in _characters(OWN_FAMILY):
        return OWN_FAMILY
    return next((f for f in _other_families() if code in _characters(f) and _draws(f, code)), None)


def _can_be_placed(character: str) -> bool:
    """Whether a character stands where it belongs in its word.

    Scripts from right to left, and marks that join letters, need a layout that matplotlib has
    since 3.11, where it was built with it.
    """
    from matplotlib import ft2font

    if hasattr(ft2font, "__libraqm_version__"):
        return True
    return (
        unicodedata.category(character) not in MARKS
        and unicodedata.bidirectional(character) not in FROM_RIGHT
    )


@functools.cache
def _other_families() -> list[str]:
    from matplotlib import font_manager

    names = {entry.name for entry in font_manager.fontManager.ttflist} - {OWN_FAMILY}
    names = {name for name in names if BOXES_ALONE not in name.replace(" ", "").lower()}
    return sorted(names, key=lambda name: (not name.startswith(FAVOURITES), name))


@functools.cache
def _characters(family: str) -> np.ndarray:
    """The codes of a family's characters; none where its file cannot be read."""
    try:
        return np.fromiter(_font(family).get_charmap(), np.uint32)
    except Exception:  # of FreeType, for a file that is gone or damaged since it was listed
        return np.zeros(0, np.uint32)


def _draws(family: str, code: int) -> bool:
    """Whether anything is seen of a family's character: fonts of coloured pictures leave it blank."""
    font = _font(family)
    try:
        font.set_size(12, 72)
        left, bottom, right, top = font.load_char(code).bbox
    except Exception:  # of FreeType, for a font of pictures without outlines
        return False
    return right > left and top > bottom


def _font(family: str):
    """The font that matplotlib draws a family with."""
    from matplotlib import font_manager

    wanted = font_manager.FontProperties(family=[family])
    path = font_manager.fontManager.findfont(wanted, fallback_to_default=False)
    return font_manager.get_font(path)

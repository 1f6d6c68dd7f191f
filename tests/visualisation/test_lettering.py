"""Names in pictures: no box stands for a character, and none is left out of which anything is seen."""

import unicodedata
import warnings

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib import font_manager, ft2font

from qvae_jax.visualisation import canvas, lettering
from qvae_jax.visualisation.lettering import Lettering

DOG, CAT, HORSE = "犬", "猫", "馬"
OWN = lettering.OWN_FAMILY


def square():
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0)), pen.lineTo((900, 0)), pen.lineTo((900, 800)), pen.closePath()
    return pen.glyph()


def write_font(path, family: str, drawn: str, blank: str = "") -> None:
    """A font that draws some characters as triangles, and has others of which nothing is seen."""
    empty = TTGlyphPen(None).glyph()
    glyphs = {".notdef": empty, **{f"drawn{i}": square() for i, _ in enumerate(drawn)}}
    glyphs |= {f"blank{i}": empty for i, _ in enumerate(blank)}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap(dict(zip(map(ord, drawn + blank), list(glyphs)[1:])))
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    builder.save(path)


@pytest.fixture
def fonts(tmp_path, monkeypatch):
    """A function that installs a font beside matplotlib's own, which are the only ones else."""
    manager = font_manager.fontManager
    own = [entry for entry in manager.ttflist if "mpl-data" in entry.fname]
    caches = [f for f in vars(lettering).values() if hasattr(f, "cache_clear")]

    def forget() -> None:
        for cache in [*caches, manager._findfont_cached]:
            cache.cache_clear()

    def install(family: str, drawn: str, blank: str = "") -> None:
        path = tmp_path / f"{family}.ttf"
        write_font(path, family, drawn, blank)
        manager.addfont(path)
        forget()

    monkeypatch.setattr(manager, "ttflist", own)
    forget()
    yield install
    monkeypatch.undo()
    forget()


def pixels(text: str) -> bytes:
    """What matplotlib makes of a text; it may warn of nothing."""
    lettered = lettering.lettering(text)
    with canvas.drawing(), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = canvas.new_figure(4, 1)
        figure.text(0, 0, lettered.text, fontfamily=list(lettered.families), parse_math=False)
        figure.canvas.draw()
        return bytes(figure.canvas.buffer_rgba())


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("wav é Ж λ $x$ \\frac{", "wav é Ж λ $x$ \\frac{"),
        ("cafe\u0301.wav", "café.wav"),  # as macOS writes names
        ("a\nb\tc\x1b[31m", "a\\nb\\tc\\x1b[31m"),
        ("\u202egnp.wav \u2764\ufe0f", "gnp.wav \u2764"),  # it stands as it is stored
        ("a\u3000b\u00a0c", "a b c"),
        ("\udcff\ue000", "\\udcff\\ue000"),
        (f"{DOG} 1 🐶", "\\u72ac 1 \\U0001f436"),
    ],
)
def test_what_no_font_draws_stands_as_its_code(fonts, text, drawn):
    assert lettering.lettering(text) == Lettering(drawn, (OWN,))


def test_other_fonts_help_out(fonts):
    boxes = pixels(DOG)
    fonts("Zen", DOG + CAT)
    fonts("Noto Sans Dogs", DOG)
    assert lettering.lettering(f"a {DOG}").families == (OWN, "Noto Sans Dogs")
    assert lettering.lettering(f"{DOG}{CAT}{HORSE}") == Lettering(
        f"{DOG}{CAT}\\u99ac", (OWN, "Noto Sans Dogs", "Zen")
    )
    assert pixels(DOG) != boxes and pixels(CAT) == pixels(DOG)


@pytest.mark.parametrize("family", ["Last Resort", ".LastResort", "Colours"])
def test_fonts_that_only_seem_to_have_a_character_do_not_count(fonts, family):
    fonts(family, *((DOG, "") if "ast" in family else ("", DOG)))
    assert lettering.lettering(DOG) == Lettering("\\u72ac", (OWN,))


def test_a_font_that_is_gone_does_not_count(fonts, tmp_path):
    fonts("Gone", DOG)
    (tmp_path / "Gone.ttf").write_bytes(b"damaged")
    assert lettering.lettering(DOG).text == "\\u72ac"


def test_it_is_said_once_and_not_of_controls(fonts, capsys):
    lettering.lettering("a\nb\udcff")
    assert capsys.readouterr().out == ""
    for name in (DOG, CAT, DOG):
        lettering.lettering(name)
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "no installed font has" in said


@pytest.mark.parametrize("text", ["مرحبا", "שלום"])
def test_scripts_from_the_right_are_drawn_where_they_can_be_placed(fonts, monkeypatch, text):
    monkeypatch.setattr(ft2font, "__libraqm_version__", "0.10", raising=False)
    fonts("Hebrew", "שלום")
    assert lettering.lettering(text).text == text
    monkeypatch.delattr(ft2font, "__libraqm_version__")
    lettering._family_of.cache_clear()
    assert lettering.lettering(text).text.isascii()


def test_a_mark_is_drawn_by_the_font_of_what_it_marks(fonts, monkeypatch):
    monkeypatch.setattr(ft2font, "__libraqm_version__", "0.10", raising=False)
    fonts("Marks", f"\u0949{DOG}")
    assert lettering.lettering("a\u0949").text == "a\\u0949"
    assert lettering.lettering(f"{DOG}\u0949") == Lettering(f"{DOG}\u0949", (OWN, "Marks"))


@settings(derandomize=True, max_examples=20, deadline=None)
@given(st.text(st.characters(), max_size=12))
@example("\0\ud800\U0010ffff")
def test_no_text_makes_matplotlib_warn(text):
    pixels(text)
    shown = lettering.lettering(text).text
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)

"""The page as text: whatever is written on it is read there, and nothing else."""

import html.parser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from qvae_jax.system.errors import UserError
from qvae_jax.visualisation import page
from qvae_jax.visualisation.page import Card, Page, Part, Picture, Player, Table

NAMES = [
    "<script>alert(1)</script>.wav",
    '" onload="alert(1)" \'.wav',
    "</title></style>&amp;{{ 7 * 7 }}{% raw %}",
    "犬の鳴き声 🐶",
]
PIECES = st.sampled_from(["<a>", "</p>", "<!--", '" id="', "' ", "&lt;", "{{ 1 }}", "]]>", "\n"])
ANYTHING = st.text(st.characters(exclude_categories=()), max_size=5)  # lone surrogates too


class Reader(html.parser.HTMLParser):
    """The tags of a page with their attributes, and the text outside of style sheets."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self._within = [], "", None
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._within = tag

    def handle_data(self, data):
        if self._within != "style":
            self.text += data

    def found(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Picture:
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    Image.new("RGB", (30, 20), "white").save(path)
    return Picture(path, "a white picture")


def page_of(name: str, picture: Picture, num_players: int = 1) -> Page:
    """A page on which everything is called so."""
    player = Player("generated", name, 1.25, [name], b"fLaC")
    card = Card(name, [player] * num_players, Picture(picture.path, name))
    return Page(
        title=name,
        facts=[(name, name)],
        tables=[Table(name, [name], [[name, name]], name)],
        about_tables=name,
        command=name,
        losses=picture,
        parts=[Part("train", name, [card])],
    )


def written(path, *arguments) -> Reader:
    assert page.write(path, page_of(*arguments)) == path.stat().st_size
    return Reader(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_as_it_is(tmp_path, picture, name):
    plain = written(tmp_path / "plain.html", "name", picture)
    read = written(tmp_path / "page.html", name, picture)
    assert [tag for tag, _ in read.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(given) for _, given in read.tags] == [sorted(given) for _, given in plain.tags]
    assert read.text.count(name) == plain.text.count("name")
    assert name in [attributes["alt"] for attributes in read.found("img")]


@settings(max_examples=30, deadline=None)
@given(name=st.lists(PIECES | ANYTHING, min_size=1).map("".join).filter(bool))
def test_any_text_adds_no_tag(tmp_path_factory, picture, name):
    path = tmp_path_factory.mktemp("page") / "page.html"
    plain = [tag for tag, _ in written(path, "name", picture).tags]
    assert [tag for tag, _ in written(path, name, picture).tags] == plain


def test_a_page_refers_to_nothing_outside_of_it(tmp_path, picture):
    read = written(tmp_path / "page.html", "https://example.org/x.png", picture, 3)
    ids = {attributes["id"] for _, attributes in read.tags if "id" in attributes}
    for _, attributes in read.tags:
        for name in ("src", "href"):
            if name in attributes:
                assert attributes[name].startswith("data:") or attributes[name][1:] in ids
    assert not read.found("script") and "url(" not in (tmp_path / "page.html").read_text("utf-8")
    [policy] = [a for a in read.found("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy["content"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("num_players", "preload"),
    [(3, "metadata"), (page.MOST_OPEN_PLAYERS, "metadata"), (page.MOST_OPEN_PLAYERS + 1, "none")],
)
def test_no_more_players_open_than_a_browser_allows(tmp_path, picture, num_players, preload):
    read = written(tmp_path / "page.html", "name", picture, num_players)
    assert [attributes["preload"] for attributes in read.found("audio")] == [preload] * num_players


def test_every_picture_and_player_says_what_it_is(tmp_path, picture):
    read = written(tmp_path / "page.html", "name", picture, 3)
    assert all(attributes["alt"] for attributes in read.found("img"))
    assert all(attributes["aria-label"] for attributes in read.found("audio"))
    assert all((a["width"], a["height"]) == ("30", "20") for a in read.found("img"))


def test_an_unwritable_page_is_the_users_to_mend(tmp_path, picture):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        page.write(tmp_path / "file" / "page.html", page_of("name", picture))

"""The page of a search: whatever names are on it, they are read there and change nothing else."""

import html.parser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.visualisation import search_page
from qvae_jax.visualisation.page import Player
from qvae_jax.visualisation.search_page import Query, SearchPage

PIECES = st.sampled_from(["<a>", "</p>", "<!--", '" id="', "' ", "&lt;", "{{ 1 }}", "]]>", "\n"])
ANYTHING = st.text(st.characters(exclude_categories=()), max_size=5)  # lone surrogates too


class Tags(html.parser.HTMLParser):
    """The tags of a page with the names of their attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, sorted(name for name, _ in attributes)))


def written(folder, name: str) -> str:
    players = [Player(role, name, 1.0, [name], b"fLaC") for role in ("query", "1", name)]
    page = SearchPage(title=name, facts=[(name, name)], queries=[Query(name, name, players)])
    assert search_page.write(folder / "page.html", page) == (folder / "page.html").stat().st_size
    return (folder / "page.html").read_text("utf-8")


@settings(max_examples=30)
@given(name=st.lists(PIECES | ANYTHING, min_size=1).map("".join).filter(bool))
def test_any_name_adds_no_tag(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("page")
    assert Tags(written(folder, name)).found == Tags(written(folder, "name")).found


@pytest.mark.parametrize("name", ["<script>alert(1)</script>.wav", "</title>&amp;{{ 7 * 7 }}.wav"])
def test_a_name_is_read_as_it_is(tmp_path, name):
    assert html.escape(name) in written(tmp_path, name).replace("&#34;", "&quot;")

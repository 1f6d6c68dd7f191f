"""Which archive is taken, and from where: Zenodo's by its record, an address or a file."""

import hashlib
import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import local_server
from qvae_jax.data import vimsketch_archive
from qvae_jax.data.vimsketch import read_index
from qvae_jax.data.vimsketch_archive import ARCHIVE, RECORD_PAGE, fetch_archive, published_archive
from qvae_jax.system import fetch
from qvae_jax.system.errors import UserError

CONTENT = bytes(range(256)) * 100
ENTRY = {
    "key": ARCHIVE,
    "size": len(CONTENT),
    "checksum": "md5:" + hashlib.md5(CONTENT).hexdigest(),
    "links": {"self": "https://zenodo.org/Vim.zip"},
}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with local_server.running() as running:
        running.contents |= {"/Vim.zip": CONTENT, "/a%20b.zip": CONTENT, "/": CONTENT}
        yield running


def answer_with(record, monkeypatch) -> None:
    """Lets the record on Zenodo be this JSON value."""
    monkeypatch.setattr(fetch, "read_json", lambda url, **options: record)


def test_the_record_tells_address_size_and_checksum(monkeypatch):
    answer_with({"files": [{"key": "README", "size": 3}, ENTRY]}, monkeypatch)
    url, size, checksum = published_archive()
    assert (url, size, checksum) == (ENTRY["links"]["self"], ENTRY["size"], ENTRY["checksum"])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_ENTRIES = st.fixed_dictionaries(
    {}, optional={name: st.just(value) | _JSON for name, value in ENTRY.items()}
)


@settings(
    derandomize=True,
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(_JSON | st.fixed_dictionaries({"files": st.lists(_ENTRIES | _JSON, max_size=2)}))
def test_any_record_is_usable_or_one_line_that_says_how_to_go_on(monkeypatch, record):
    answer_with(record, monkeypatch)
    try:
        _, size, checksum = published_archive()
    except UserError as error:
        text = str(error)
        assert "\n" not in text and text.endswith(".")
        assert RECORD_PAGE in text and "give it with --source=FILE" in text
    else:
        assert type(size) is int and checksum.startswith(("md5:", "sha256:"))


def test_zenodos_archive_lies_beside_the_data_set_and_is_checked(server, tmp_path, monkeypatch):
    entry = ENTRY | {"links": {"self": server.url("/Vim.zip")}}
    answer_with({"files": [entry]}, monkeypatch)
    path = fetch_archive(tmp_path / "data" / "set")
    assert path == tmp_path / "data" / ARCHIVE and path.read_bytes() == CONTENT
    assert fetch_archive(tmp_path / "data" / "set") == path and len(server.requests) == 1
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(UserError, match="has md5 .* instead of the published"):
        fetch_archive(tmp_path / "data" / "set")


@pytest.mark.parametrize(
    ("address", "name"),
    [("/Vim.zip", "Vim.zip"), ("/a%20b.zip", "a b.zip"), ("/", ARCHIVE)],
)
def test_an_address_gives_its_last_name_to_the_file(server, tmp_path, capsys, address, name):
    path = fetch_archive(tmp_path / "set", server.url(address))
    assert path == tmp_path / name and path.read_bytes() == CONTENT
    assert "no checksum of it is known" in capsys.readouterr().out


def test_a_file_is_taken_as_it_is(tmp_path):
    (tmp_path / "mine.zip").write_bytes(CONTENT)
    assert fetch_archive(tmp_path / "set", str(tmp_path / "mine.zip")) == tmp_path / "mine.zip"
    with pytest.raises(UserError, match="'absent.zip' is neither a file nor an address"):
        fetch_archive(tmp_path / "set", "absent.zip")
    assert os.listdir(tmp_path) == ["mine.zip"]


def test_room_is_looked_at_on_the_disk_that_a_link_leads_to(server, tmp_path, monkeypatch):
    answer_with({"files": [ENTRY | {"links": {"self": server.url("/Vim.zip")}}]}, monkeypatch)
    (tmp_path / "disk" / "set").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "set").symlink_to(tmp_path / "disk" / "set")
    usage, asked = shutil.disk_usage(tmp_path), []

    def disk_usage(folder):
        asked.append(folder)
        return usage._replace(free=0)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    with pytest.raises(UserError, match="needed for set: free some space"):
        fetch_archive(tmp_path / "here" / "set")
    assert asked == [tmp_path / "disk"]
    assert os.listdir(tmp_path / "disk") == ["set"]


def test_an_archive_of_the_layout_becomes_a_data_set(data_set, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "a"), "zip", data_set)
    vimsketch_archive.unpack_archive(tmp_path / archive, tmp_path / "set")
    assert len(read_index(tmp_path / "set").pairs) == 12

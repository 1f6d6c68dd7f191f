"""`--mode=download` from a server on this machine in the place of Zenodo."""

import hashlib
import json
import os
import pathlib
import shutil

import ml_collections
import pytest

import local_server
from qvae_jax.data import vimsketch_archive
from qvae_jax.data.vimsketch import read_index
from qvae_jax.modes.download import download
from qvae_jax.modes.requests import DownloadRequest
from qvae_jax.system import fetch, files
from qvae_jax.system.errors import UserError

NUM_REFERENCES, NUM_IMITATIONS = 4, 12  # of the small data set


@pytest.fixture
def server(monkeypatch, data_set, tmp_path):
    """Serves the small data set as the record describes it."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fetch.time, "sleep", lambda _: None)
    (tmp_path / "packed").mkdir()
    shutil.copytree(data_set, tmp_path / "packed" / "Vim_Sketch_Dataset")
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path / "packed")
    with local_server.running() as running:
        running.contents["/Vim.zip"] = pathlib.Path(archive).read_bytes()
        monkeypatch.setattr(vimsketch_archive, "RECORD_URL", running.url("/record"))
        describe(running)
        yield running


def describe(server: local_server.Server, **changes: object) -> None:
    content = server.contents["/Vim.zip"]
    entry = {
        "key": vimsketch_archive.ARCHIVE,
        "size": len(content),
        "checksum": "md5:" + hashlib.md5(content).hexdigest(),
        "links": {"self": server.url("/Vim.zip")},
    }
    record = {"files": [{"key": "README", "size": 3}, entry | changes]}
    server.contents["/record"] = json.dumps(record).encode()


def config_for(folder: pathlib.Path | str) -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict({"data": {"dataset_dir": str(folder)}})


def tree(folder: pathlib.Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_stopped_download_is_gone_on_with_and_a_finished_one_not_repeated(
    server, data_set, tmp_path, capsys
):
    server.behaviours = ["good", "cut", "cut"] + [404]
    folder = tmp_path / "data" / "vimsketch"
    with pytest.raises(UserError, match="/Vim.zip cannot be downloaded .HTTP Error 404"):
        download(config_for(folder), DownloadRequest())
    assert sorted(os.listdir(tmp_path / "data")) == [
        "Vim_Sketch_Dataset.zip.part",
        "Vim_Sketch_Dataset.zip.part.json",
    ]
    index = download(config_for(folder), DownloadRequest())
    assert tree(folder) == tree(data_set)
    assert sorted(os.listdir(tmp_path / "data")) == ["Vim_Sketch_Dataset.zip", "vimsketch"]
    assert (len(index.references), len(index.imitations)) == (NUM_REFERENCES, NUM_IMITATIONS)
    output = capsys.readouterr().out
    assert "vimsketch holds 4 references and 12 imitations: 12 pairs" in output
    assert output.endswith("--mode=doctor, then --mode=prepare.\n")
    num_requests = len(server.requests)
    assert "Range" in server.requests[-1]

    download(config_for(folder), DownloadRequest())
    assert len(server.requests) == num_requests
    assert capsys.readouterr().out.startswith(f"{folder} holds 4 references")

    shutil.rmtree(folder)  # to have it again, the archive is enough
    download(config_for(folder), DownloadRequest())
    assert tree(folder) == tree(data_set) and len(server.requests) == num_requests + 1


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
@pytest.mark.parametrize("by", ["address", "path"])
def test_another_source_is_an_address_or_a_path(server, data_set, tmp_path, capsys, kind, by):
    archive = pathlib.Path(shutil.make_archive(str(tmp_path / "mine"), kind, data_set))
    server.contents[f"/my%20files/{archive.name}"] = archive.read_bytes()
    url = server.url(f"/my%20files/{archive.name}?download=1")
    server.contents[f"/my%20files/{archive.name}?download=1"] = archive.read_bytes()
    folder = tmp_path / "data" / "vimsketch"
    download(config_for(folder), DownloadRequest(url if by == "address" else str(archive)))
    assert tree(folder) == tree(data_set)
    expected = [archive.name, "vimsketch"] if by == "address" else ["vimsketch"]
    assert sorted(os.listdir(tmp_path / "data")) == sorted(expected)
    assert ("no checksum of it is known" in capsys.readouterr().out) == (by == "address")


def test_a_corrupt_archive_is_not_unpacked(server, tmp_path):
    whole = server.contents["/Vim.zip"]
    corrupt = bytearray(whole)
    corrupt[len(corrupt) // 2] ^= 1
    server.contents["/Vim.zip"] = bytes(corrupt)
    folder = tmp_path / "data" / "vimsketch"
    with pytest.raises(UserError, match="has md5 .* instead of the published"):
        download(config_for(folder), DownloadRequest())
    assert os.listdir(tmp_path / "data") == []
    # Without a checksum, the zip's own CRCs show it.
    with pytest.raises(UserError, match="is damaged at 'Vim_Sketch_Dataset/"):
        download(config_for(folder), DownloadRequest(server.url("/Vim.zip")))
    assert not folder.exists()
    server.contents["/Vim.zip"] = whole
    download(config_for(folder), DownloadRequest())
    assert len(read_index(folder).pairs) == NUM_IMITATIONS


@pytest.mark.parametrize(
    ("changes", "behaviours", "message"),
    [
        ({"size": "5"}, [], "does not state address, size and checksum"),
        ({"checksum": None}, [], "does not state"),
        ({"checksum": "crc:00"}, [], "does not state"),
        ({"links": {}}, [], "does not state"),
        ({"key": "Other.zip"}, [], "does not state"),
        ({"size": 10}, [], "announces .* instead of 10"),
        ({"links": {"self": "ftp://x/y.zip"}}, [], "is not an address"),
        ({}, [404], "/record cannot be read .HTTP Error 404"),
        ({}, [500] * 9, "/record cannot be read .HTTP Error 500"),
        ({}, ["garbage"] * 9, "/record cannot be read"),
    ],
)
def test_a_record_that_cannot_be_used_is_one_line(server, tmp_path, changes, behaviours, message):
    describe(server, **changes)
    server.behaviours = behaviours
    with pytest.raises(UserError, match=message) as caught:
        download(config_for(tmp_path / "data" / "vimsketch"), DownloadRequest())
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    if "record" in message or "state" in message:
        assert "with a browser and give it with --source=FILE" in text
        assert vimsketch_archive.RECORD_PAGE in text


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"files": 3}', b'{"files": [{}]}', b"3"])
def test_a_record_of_another_form_is_one_line(server, tmp_path, content):
    server.contents["/record"] = content
    with pytest.raises(UserError, match="give it with --source=FILE"):
        download(config_for(tmp_path / "data" / "vimsketch"), DownloadRequest())


def test_room_for_archive_and_data_is_looked_at_first(server, tmp_path, monkeypatch):
    size = len(server.contents["/Vim.zip"])
    usage = shutil.disk_usage(tmp_path)._replace(free=2 * size)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="free some space"):
        download(config_for(tmp_path / "data" / "vimsketch"), DownloadRequest())
    assert len(server.requests) == 1 and not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent.zip", "--source: 'absent.zip' is neither a file nor an address"),
        ("", "--source: '' is neither"),
        ("ftp://host/x.zip", "is not an address"),
    ],
)
def test_a_source_that_is_none_is_refused(tmp_path, source, message):
    with pytest.raises(UserError, match=message):
        download(config_for(tmp_path / "set"), DownloadRequest(source))
    assert os.listdir(tmp_path) == []


def test_what_lies_in_the_folder_already_is_never_touched(server, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "mine.txt").write_text("kept")
    with pytest.raises(UserError, match=f"does not hold .*to download it again, remove {folder}"):
        download(config_for(folder), DownloadRequest())
    assert tree(folder) == {"mine.txt": b"kept"} and server.requests == []


def test_another_archive_than_vimsketch_is_refused_before_anything_is_unpacked(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("x")
    archive = shutil.make_archive(str(tmp_path / "other"), "zip", tmp_path / "other")
    with pytest.raises(UserError, match="holds no references and no vocal_imitations"):
        download(config_for(tmp_path / "set"), DownloadRequest(archive))
    assert not (tmp_path / "set").exists() and not files.part_of(tmp_path / "set").exists()


def test_a_config_without_a_folder_is_refused():
    with pytest.raises(UserError, match="data.dataset_dir is empty.*--config=vimsketch"):
        download(config_for(""), DownloadRequest())

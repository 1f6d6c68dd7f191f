"""What is published, and fetching it from a server on this machine that behaves well or badly."""

import hashlib
import pathlib
import socket

import pytest

import local_server
from qvae_jax.models import mobilenet, variables
from qvae_jax.models.qvae import QVAEConfig, encoder_network
from qvae_jax.system.errors import UserError

torch = pytest.importorskip("torch", reason="weight_port.source imports it")

from weight_port import published
from weight_port.published import Published

CONTENT = bytes(range(256)) * 5000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server in the place of the release page, and an empty cache."""
    with local_server.running() as running:
        running.contents = {"/known.pt": CONTENT, "/unknown.pt": CONTENT}
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setitem(published.RELEASES, "EfficientAT", running.url("").rstrip("/"))
        monkeypatch.setattr(published, "PAUSES_S", ())
        known = Published("known.pt", 1.0, sha256=DIGEST)
        monkeypatch.setitem(published.PUBLISHED, "known", known)
        monkeypatch.setitem(published.PUBLISHED, "unknown", Published("unknown.pt", 1.0))
        yield running


def _cached(tmp_path) -> list[str]:
    folder = tmp_path / "qvae_jax"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_is_downloaded_once_and_then_taken_from_the_cache(server, tmp_path, capfd):
    path = published.fetch("known")
    assert path.read_bytes() == CONTENT
    assert published.fetch("known") == path
    assert len(server.requests) == 1 and _cached(tmp_path) == ["known.pt"]
    assert capfd.readouterr() == ("", "")


def test_a_download_that_broke_off_goes_on_where_it_did(server, tmp_path):
    server.behaviours = ["cut"]
    with pytest.raises(UserError, match=f"run this again to go on from byte {len(CONTENT) // 2}"):
        published.fetch("known")
    assert published.fetch("known").read_bytes() == CONTENT
    assert server.ranges() == [None, f"bytes={len(CONTENT) // 2}-"]
    assert _cached(tmp_path) == ["known.pt"]


def test_a_wrong_digest_is_refused_and_nothing_is_kept(server, tmp_path):
    server.contents["/known.pt"] = CONTENT[::-1]
    message = f"the download of .* has sha256 .* instead of the published {DIGEST}"
    with pytest.raises(UserError, match=message):
        published.fetch("known")
    assert _cached(tmp_path) == []


def test_where_no_digest_is_known_the_first_one_is_printed_and_kept(server, tmp_path, capfd):
    path = published.fetch("unknown")
    line = f"no digest of unknown is known here: its sha256 is {DIGEST}, kept in unknown.pt.sha256"
    assert capfd.readouterr().out == f"{line}\n"
    assert _cached(tmp_path) == ["unknown.pt", "unknown.pt.sha256"]
    stored = (tmp_path / "qvae_jax" / "unknown.pt.sha256").read_text()
    assert stored == f"{DIGEST}  unknown.pt\n"
    assert published.fetch("unknown") == path and capfd.readouterr().out == ""


def test_a_file_that_changed_since_its_first_download_is_named(server, tmp_path):
    published.fetch("unknown").write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=r"unknown\.pt has sha256 .* instead of .*remove it"):
        published.fetch("unknown")
    (tmp_path / "qvae_jax" / "unknown.pt").unlink()
    assert published.fetch("unknown").read_bytes() == CONTENT
    server.contents["/unknown.pt"] = CONTENT[::-1]
    (tmp_path / "qvae_jax" / "unknown.pt").unlink()
    with pytest.raises(UserError, match="the download of .* has sha256"):
        published.fetch("unknown")


@pytest.mark.parametrize("content", ["", "no digest\n", "abc  unknown.pt\n", "ü\n"])
def test_a_damaged_digest_is_made_again(server, tmp_path, content):
    path = published.fetch("unknown")
    stored = path.with_name("unknown.pt.sha256")
    stored.write_text(content)
    published.fetch("unknown")
    assert stored.read_text() == f"{DIGEST}  unknown.pt\n"


def test_without_a_server_the_error_says_how_to_do_it_by_hand(server, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setitem(published.RELEASES, "EfficientAT", address)
        with pytest.raises(UserError) as caught:
            published.fetch("known")
    assert "cannot be downloaded" in str(caught.value)
    assert f"put it at {tmp_path / 'qvae_jax' / 'known.pt'}" in str(caught.value)
    assert _cached(tmp_path) == []


def test_every_digest_known_is_a_sha256():
    digests = [entry.sha256 for entry in published.PUBLISHED.values() if entry.sha256 is not None]
    assert len(digests) == 2 and all(len(bytes.fromhex(digest)) == 32 for digest in digests)


def test_the_released_file_has_the_digest_known_here(shared_dir):
    entry = published.PUBLISHED["mn04_as"]
    path = shared_dir / "torch_checkpoints" / entry.file
    if not path.is_file():
        pytest.skip(f"needs {path}")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256


# --- what is published


def test_a_renamed_file_of_a_known_digest_is_recognised():
    digest = published.PUBLISHED["mn10_as"].sha256
    assert published.name_of("renamed.pt", digest) == "mn10_as"
    assert published.name_of("renamed.pt", "0" * 64) is None


def test_every_published_name_tells_its_width_and_its_precision():
    of_efficientat = {n: e for n, e in published.PUBLISHED.items() if e.release == "EfficientAT"}
    assert len(of_efficientat) == 35
    for name, entry in of_efficientat.items():
        assert entry.num_classes is None
        assert entry.width == int(name[2:4]) / 10
        assert published.name_of(entry.file, "0" * 64) == name
        assert (entry.mean_average_precision is None) == ("_im" in name and "_as" not in name)
        if entry.mean_average_precision is not None:
            assert f"_mAP_{entry.mean_average_precision * 1000:.0f}" in entry.file
        told = [entry.hop_length != 320, entry.num_mels != 128, entry.strides != (2, 2, 2, 2)]
        assert told == ["_hop_" in name, "_mels_" in name, "_s2" in name]
        assert (entry.head == "fully_convolutional") == ("_fc" in name)


def test_the_encoders_of_qbv_are_mn10_with_heads_of_476_or_120_classes():
    of_qbv = {name: e for name, e in published.PUBLISHED.items() if e.release == "QBV"}
    folds = {
        f"qbv_fold{fold}": Published(
            f"ct_nt_xent_fold{fold}mn10d10s32_01.pt", 1.0, release="QBV", num_classes=476
        )
        for fold in range(10)
    }
    file = "VocalSketch120_mn10d10s32_320.pt"
    assert of_qbv == folds | {
        "vocalsketch120": Published(file, 1.0, release="QBV", num_classes=120)
    }


def test_where_no_licence_is_stated_the_download_says_so(server, tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(published.RELEASES, "QBV", server.url("").rstrip("/"))
    server.contents["/VocalSketch120_mn10d10s32_320.pt"] = CONTENT
    note = "note: the licence of vocalsketch120 is not stated by its authors"
    published.fetch("vocalsketch120")
    assert capfd.readouterr().out.startswith(note)
    published.fetch("vocalsketch120")
    assert capfd.readouterr().out == ""


def test_a_name_that_the_release_lacks_is_one_line(server, tmp_path, monkeypatch):
    monkeypatch.setitem(published.RELEASES, "QBV", server.url("").rstrip("/"))
    file = "ct_nt_xent_fold7mn10d10s32_01.pt"
    with pytest.raises(UserError, match=f"{file} cannot be downloaded .*404.*put it at") as caught:
        published.fetch("qbv_fold7")
    assert "\n" not in str(caught.value) and _cached(tmp_path) == []


def test_the_tables_in_the_documentation_are_those_of_the_code():
    """Parameters are those of 527 classes or of QBV's, counted on the networks themselves."""
    text = (pathlib.Path(published.__file__).parent / "README.md").read_text()
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith(("| `mn", "| `qbv_fold", "| `vocalsketch"))
    ]
    assert [row[0] for row in rows] == list(published.PUBLISHED)
    for name, file, classes, parameters, *_ in rows[35:]:
        entry = published.PUBLISHED[name]
        assert (file, int(classes)) == (entry.file, entry.num_classes)
        counted = _num_parameters(entry.width, entry.head, entry.num_classes)
        num_encoders = 2 if name.startswith("qbv_fold") else 1
        assert parameters == f"{num_encoders} × {counted:,}".removeprefix("1 × ")
    for name, file, width, parameters, embedding, precision, remarks in rows[:35]:
        entry = published.PUBLISHED[name]
        assert (file, float(width)) == (entry.file, entry.width)
        assert parameters == f"{_num_parameters(entry.width, entry.head):,}"
        assert int(embedding) == mobilenet.embedding_size(entry.width)
        known = entry.mean_average_precision
        assert precision == ("–" if known is None else f"{known:.3f}")
        assert ("hop" in remarks) == (entry.hop_length != 320)
        assert (f"{entry.num_mels} mel bands" in remarks) == (entry.num_mels != 128)


def _num_parameters(width: float, head: str, num_classes: int = 527) -> int:
    config = QVAEConfig(encoder_width=width, encoder_head=head, encoder_classes=num_classes)
    module = encoder_network(config, rng=None)
    return sum(array.size for array in variables.split(module)[1].params.values())

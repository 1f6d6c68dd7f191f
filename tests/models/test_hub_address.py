"""Models named by an address on the Hub: its form, what is fetched, and what is said where nothing is."""

import pathlib
import sys

import pytest

import fake_hub
from qvae_jax.models import hub_address
from qvae_jax.system.errors import UserError

NAMES = (
    "config.json", "model.safetensors", "imitation/config.json", "imitation/model.safetensors",
    "README.md", "model.py", "pytorch_model.bin", "variables/manifest.ocdbt", "other/config.json",
)  # fmt: skip


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """One with a repository owner/name, of two revisions."""
    hub = fake_hub.installed(monkeypatch, tmp_path / "cache")
    for revision in (None, "refs/pr/1"):
        folder = tmp_path / "repositories" / str(revision)
        for name in NAMES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"{revision} {name}")
        hub.repositories["owner/name", revision] = folder
    return hub


@pytest.mark.parametrize("text", ["runs/first", "hf", "hf:x", "./hf:/x", "", pathlib.Path("a/b")])
def test_a_path_stays_a_path(text, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # nor is it needed
    assert hub_address.local_folder(text) == pathlib.Path(text)


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("hf://owner/name", ("owner/name", None)),
        ("hf://owner/name/", ("owner/name", None)),
        ("hf://owner/name@refs/pr/1", ("owner/name", "refs/pr/1")),
        (pathlib.Path("hf://owner/name"), ("owner/name", None)),
    ],
)
def test_an_address_is_a_folder_of_our_own_files_alone(hub, address, asked):
    folder = hub_address.local_folder(address)
    assert hub.asked == [asked]
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert found == set(NAMES[:4])
    assert (folder / "config.json").read_text() == f"{asked[1]} config.json"


@pytest.mark.parametrize(
    "address",
    ["hf://", "hf://name", "hf://owner/name/file", "hf://owner/name@", "hf://o/n@r@s", "hf://o/n n",
     "hf:///o/n", "hf://o/n\n", "hf://ö/n"],
)  # fmt: skip
def test_what_is_no_address_is_refused(hub, address):
    with pytest.raises(UserError, match="is no address .* write hf://OWNER/NAME"):
        hub_address.local_folder(address)
    assert not hub.asked


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://owner/none", "there is none of that name, or it is private: then `hf auth login`"),
        ("hf://owner/gated", "its owner has to let you in first"),
        ("hf://owner/name@v9", "it has no such revision"),
        ("hf://owner/away", "cannot be fetched: the network is down"),
        ("hf://owner/empty", "holds no config.json or model.safetensors, so it is no model"),
    ],
)
def test_what_cannot_be_fetched_is_told_in_one_line(hub, tmp_path, address, message):
    (tmp_path / "empty").mkdir()
    hub.repositories["owner/empty", None] = tmp_path / "empty"
    with pytest.raises(UserError, match=message) as raised:
        hub_address.local_folder(address)
    assert address in str(raised.value) and "\n" not in str(raised.value)


def test_without_huggingface_hub_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message = r"hf://owner/name needs huggingface_hub, .*: python3 -m pip install '.*\[hub\]'"
    with pytest.raises(UserError, match=message):
        hub_address.local_folder("hf://owner/name")

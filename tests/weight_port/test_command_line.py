"""`python -m weight_port`: what it prints, its exit status, and what it leaves behind."""

import json
import os
import pathlib
import socket
import zipfile

import numpy as np
import pytest

from filled import golden_layout
from qvae_jax.models import mobilenet, stored, variables

torch = pytest.importorskip("torch", reason="reads and writes PyTorch checkpoints")

from weight_port import names, published, to_torch, verify

ENCODER_FILES = {"config.json", "variables"}


def _assert_refused(finished, *words: str) -> None:
    """Exit status 1, nothing on stdout, and on stderr one line that holds all the words."""
    assert finished.status == 1
    assert finished.out == ""
    assert finished.err.startswith("error: ") and finished.err.endswith("\n")
    assert len(finished.err.splitlines()) == 1
    for word in words:
        assert word in finished.err


def _tensors(arrays: dict) -> dict:
    return {key: torch.as_tensor(array) for key, array in arrays.items()}


# --- what goes well


def test_an_encoder_is_ported_and_reported(run_main, mn01_file, tmp_path):
    finished = run_main(mn01_file, tmp_path / "model")
    assert (finished.status, finished.err) == (0, "")
    description = json.loads((tmp_path / "model" / "config.json").read_text())
    sha256 = description["source"]["sha256"]
    assert finished.out.splitlines() == [
        f"EfficientAT state dict mn01.pt, sha256 {sha256}",
        "encoder: encoder_width 0.1, encoder_head mlp, encoder_strides (2, 2, 2, 2), "
        "encoder_classes 527, hop_length 320, num_mels 128",
        "note: no tensor tells the hop, the mel bands and the strides: taken to be those of every "
        "published model of width 0.1",
        f"251 arrays, 123,783 parameters, written to {tmp_path / 'model'}",
    ]
    assert {path.name for path in (tmp_path / "model").iterdir()} == ENCODER_FILES


def test_a_qvae_is_ported_by_the_command_line(ported_qvae):
    finished = ported_qvae.finished
    assert (finished.status, finished.err) == (0, "")
    assert "QVAE Lightning checkpoint qvae.ckpt, sha256" in finished.out
    assert "qvae: encoder_width 1.0, encoder_head mlp, " in finished.out
    features = "feature_space final, standardise_features False, voice_share 1.0"
    assert f"{features}, latent_dim 16" in finished.out
    description = stored.read_description(ported_qvae.folder)
    assert description["kind"] == "qvae"
    assert description["embedding_size"] == 960
    shapes = golden_layout("qvae_checkpoint_layout")["shapes"]
    used = [k for k in shapes if not (k.endswith("tracked") or k.startswith("loss_fn"))]
    assert f"{len(used)} arrays" in finished.out


def test_an_empty_folder_may_be_there_already(run_main, mn01_file, tmp_path):
    (tmp_path / "model").mkdir()
    assert run_main(mn01_file, tmp_path / "model").status == 0
    assert {path.name for path in (tmp_path / "model").iterdir()} == ENCODER_FILES


def test_conversions_to_float32_are_reported(run_main, mn01_arrays, tmp_path):
    tensors = _tensors(mn01_arrays)
    tensors["features.0.0.weight"] = tensors["features.0.0.weight"].half()
    for key in ("classifier.5.weight", "classifier.5.bias"):
        tensors[key] = tensors[key].double()
    torch.save(tensors, tmp_path / "mixed.pt")
    finished = run_main(tmp_path / "mixed.pt", tmp_path / "model")
    assert (finished.status, finished.err) == (0, "")
    assert "1 tensor converted from float16 to float32\n" in finished.out
    assert "2 tensors converted from float64 to float32\n" in finished.out
    arrays = stored.load_encoder(tmp_path / "model").params
    halved = mn01_arrays["features.0.0.weight"].astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(arrays["features.0.kernel"], np.moveaxis(halved, (0, 1), (3, 2)))
    np.testing.assert_array_equal(
        arrays["classifier.output.kernel"], mn01_arrays["classifier.5.weight"].T
    )


def test_tensors_that_do_not_lie_in_one_piece_are_ported(run_main, mn01_arrays, tmp_path):
    strided = {
        key: torch.stack([tensor, tensor + 1], dim=-1)[..., 0] if tensor.ndim else tensor
        for key, tensor in _tensors(mn01_arrays).items()
    }
    torch.save(strided, tmp_path / "strided.pt")
    assert not torch.load(tmp_path / "strided.pt")["classifier.5.bias"].is_contiguous()
    finished = run_main(tmp_path / "strided.pt", tmp_path / "model")
    assert finished.status == 0, finished.err
    found = stored.load_encoder(tmp_path / "model")
    loaded = found.params | found.batch_stats
    for key, name in names.mobilenet(0.1).items():
        np.testing.assert_array_equal(loaded[name], names.to_our_axes(mn01_arrays[key]))


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_a_file_name_that_is_no_text_does_no_harm(run_main, mn01_file, tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.pt")
    os.rename(mn01_file, odd)
    finished = run_main(odd, tmp_path / "model")
    assert (finished.status, finished.err) == (0, "")
    description = stored.read_description(tmp_path / "model")
    assert description["source"]["file"] == "\udcff\n.pt"
    assert "EfficientAT state dict \\udcff\\n.pt," in finished.out
    os.truncate(odd, 100)
    _assert_refused(run_main(odd, tmp_path / "other"), "\\udcff\\n.pt cannot be read")


def _pair(mn01_arrays) -> dict:
    """Two encoders under QBV's keys, whose weights differ."""
    imitation = {f"im.{key}": array for key, array in mn01_arrays.items()}
    return imitation | {
        f"ref.{key}": array if key.endswith(("running_var", "tracked")) else 1.1 * array
        for key, array in mn01_arrays.items()
    }


def test_a_pair_of_encoders_is_ported_verified_and_written_back(
    run_main, mn01_arrays, tmp_path, monkeypatch
):
    compared = []

    def compare(source, ported):  # as the other test does in earnest
        compared.append(ported.description["source"]["encoder"])
        return [verify.Row("features.0", (1,), 0.0, 0.0)]

    monkeypatch.setattr(verify, "compare", compare)
    torch.save(_tensors(_pair(mn01_arrays)), tmp_path / "a.pt")
    finished = run_main(tmp_path / "a.pt", tmp_path / "pair", "--verify")
    assert (finished.status, finished.err) == (0, "")
    for side in stored.EncoderFolders._fields:
        assert f"parameters, written to {tmp_path / 'pair' / side}\n" in finished.out
        assert f"\n{side}:\nlayer " in finished.out
        description = stored.read_description(tmp_path / "pair" / side)
        assert description["source"]["encoder"] == side
    assert compared == ["imitation", "reference"]
    assert finished.out.count("verified: no layer differs") == 2
    assert run_main("--to_torch", tmp_path / "pair", tmp_path / "back.pt").status == 0
    before, after = (torch.load(tmp_path / name) for name in ("a.pt", "back.pt"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_one_encoder_of_a_pair_is_a_plain_folder(run_main, mn01_arrays, tmp_path):
    arrays = _pair(mn01_arrays)
    torch.save(_tensors(arrays), tmp_path / "a.pt")
    finished = run_main(tmp_path / "a.pt", tmp_path / "model", "--encoder=reference", "--verify")
    assert (finished.status, finished.err) == (0, "")
    assert finished.out.count("verified: no layer differs") == 1
    assert {path.name for path in (tmp_path / "model").iterdir()} == ENCODER_FILES
    found = stored.load_encoder(tmp_path / "model").params["features.0.norm.scale"]
    np.testing.assert_array_equal(found, arrays["ref.features.0.1.weight"])


def test_a_pair_is_written_whole_or_not_at_all(run_main, mn01_arrays, tmp_path, monkeypatch):
    torch.save(_tensors(_pair(mn01_arrays)), tmp_path / "a.pt")
    save, saved = stored.ocp.PyTreeCheckpointer.save, []

    def full_after_one(self, path, *arguments, **options):
        if saved:
            raise OSError(28, "No space left on device")
        saved.append(path)
        return save(self, path, *arguments, **options)

    monkeypatch.setattr(stored.ocp.PyTreeCheckpointer, "save", full_after_one)
    finished = run_main(tmp_path / "a.pt", tmp_path / "pair")
    _assert_refused(finished, f"{tmp_path / 'pair'} cannot be written", "No space left")
    assert saved and [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_judges_there_and_back_are_the_same(run_main, tagger_arrays, aisfx_arrays, tmp_path):
    for name, arrays in {"samplecnn": tagger_arrays, "aisfx": aisfx_arrays}.items():
        torch.save(_tensors(arrays), tmp_path / f"{name}.pt")
        finished = run_main(tmp_path / f"{name}.pt", tmp_path / name)
        assert (finished.status, finished.err) == (0, "")
        assert stored.read_description(tmp_path / name)["kind"] == name
        assert run_main("--to_torch", tmp_path / name, tmp_path / f"{name}-back.pt").status == 0
        back = torch.load(tmp_path / f"{name}-back.pt")
        kept = {key for key in arrays if name == "samplecnn" or not key.startswith("fc.")}
        assert back.keys() == kept
        for key in kept:
            np.testing.assert_array_equal(back[key].numpy(), arrays[key], key)


def test_the_checkpoint_in_a_package_is_read(run_main, aisfx_arrays, tmp_path):
    """As aiSFX's is: its weights, and the libraries with their numbers of categories."""
    torch.save((_tensors(aisfx_arrays), {"a": (np.int64(0), 3)}), tmp_path / "checkpoint.pth")
    with zipfile.ZipFile(tmp_path / "aisfx-1.whl", "w") as package:
        package.write(tmp_path / "checkpoint.pth", "aisfx/models/checkpoint.pth")
        package.writestr("aisfx/__init__.py", "raise SystemExit('never run')")
    finished = run_main(tmp_path / "aisfx-1.whl", tmp_path / "model")
    assert (finished.status, finished.err) == (0, "")
    lines = finished.out.splitlines()
    assert lines[0].startswith("aiSFX checkpoint aisfx-1.whl, sha256 ")
    assert lines[1] == "aisfx: embedding_size 512"
    assert "note: left out: 2 classifiers, which no embedding goes through" in lines


@pytest.mark.parametrize("checkpoints", [(), ("a.pth", "b.pt")])
def test_a_package_without_one_checkpoint_is_one_line(run_main, tmp_path, checkpoints):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as package:
        for name in ("a/__init__.py", *checkpoints):
            package.writestr(name, "")
    finished = run_main(tmp_path / "a.whl", tmp_path / "model")
    _assert_refused(finished, "a.whl cannot be read as a PyTorch checkpoint")


# --- several sets of weights


def test_of_a_model_and_its_average_the_user_chooses(run_main, mn01_arrays, tmp_path):
    tensors = _tensors(mn01_arrays)
    average = {f"module.{key}": tensor * 2 for key, tensor in tensors.items()}
    path, output = tmp_path / "mn01_as_mAP_298.pt", tmp_path / "model"
    torch.save({"model": tensors, "ema": average, "epoch": 3}, path)
    _assert_refused(run_main(path, output), "2 sets of weights (model, ema.module)", "--weights=")
    finished = run_main(path, output, "--weights=ema")
    assert (finished.status, finished.err) == (0, "")
    assert "note: the weights are those under ema\n" in finished.out
    assert f"note: the prefix module. is taken off {len(tensors)} keys\n" in finished.out
    assert stored.read_description(output)["source"]["weights"] == "ema.module"
    found = stored.load_encoder(output).params["features.0.norm.scale"]
    np.testing.assert_array_equal(found, 2 * mn01_arrays["features.0.1.weight"])


def test_averages_without_names_are_not_passed_over_in_silence(run_main, mn01_arrays, tmp_path):
    tensors = _tensors(mn01_arrays)
    content = {"state_dict": tensors, "ema": {"shadow_params": list(tensors.values())}}
    torch.save(content, tmp_path / "a.pt")
    finished = run_main(tmp_path / "a.pt", tmp_path / "model")
    assert finished.status == 0, finished.err
    assert "note: left out: " in finished.out
    assert "matrices under ema.shadow_params, which may be weights" in finished.out


def test_a_choice_of_weights_is_for_porting_alone(run_main, tmp_path):
    given = ("--to_torch", "--weights=ema", "--feature_space=13")
    finished = run_main(tmp_path, tmp_path / "a.pt", *given)
    _assert_refused(finished, "--weights and --feature_space cannot be combined with --to_torch")


# --- the source is bad


def _write(path: pathlib.Path, content) -> pathlib.Path:
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    return path


def test_each_bad_source_is_one_line(run_main, mn01_arrays, mn01_file, tmp_path):
    tensors = _tensors(mn01_arrays)
    swapped = tensors | {"classifier.5.weight": tensors["classifier.5.weight"].T}
    not_a_number = tensors | {"classifier.5.bias": tensors["classifier.5.bias"] * np.nan}
    cases = {
        "empty.pt": (b"", "it is empty"),
        "text.pt": (b"hello\n" * 9, "cannot be read as a PyTorch checkpoint"),
        "cut.pt": (mn01_file.read_bytes()[:9999], "cannot be read as a PyTorch checkpoint"),
        "other.pt": ({"fc.weight": torch.zeros(2)}, "unknown kind"),
        "module.pt": (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        "extra.pt": (tensors | {"extra": torch.zeros(2)}, "unknown extra"),
        "swapped.pt": (swapped, "classifier.5.weight"),
        "nan.pt": (not_a_number, "classifier.5.bias"),
        "lines.pt": (tensors | {"a\nb\x1b[2K\u2028": torch.zeros(2)}, "a\\nb\\x1b[2K\\u2028"),
    }
    output = tmp_path / "model"
    for name, (content, word) in cases.items():
        _assert_refused(run_main(_write(tmp_path / name, content), output), name, word)
        assert not output.exists()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*cases, mn01_file.name}


@pytest.mark.parametrize("source", ["absent.pt", "."])
def test_a_source_that_is_no_file_is_one_line(run_main, tmp_path, source):
    _assert_refused(run_main(source, tmp_path / "model"), source, "give a PyTorch checkpoint")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("qbv_fold10", "neither a file nor a published name: did you mean qbv_fold1 or qbv_fold0"),
        ("mn10-as", "did you mean mn10_as or "),
        ("vocalsketch_120", "did you mean vocalsketch120?"),
        ("aiSFX", "run `pip download --no-deps aisfx==0.1.2` and give the .whl file"),
    ],
)
def test_a_name_that_is_nearly_one_is_told_which(run_main, tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    _assert_refused(run_main(source, tmp_path / "model"), message)


def test_a_wrong_option_shows_the_usage(run_main, tmp_path):
    with pytest.raises(SystemExit) as caught:
        run_main("a.pt", tmp_path / "model", "--encoder=other")
    assert caught.value.code == 2


# --- the output folder is bad


def test_a_folder_that_holds_something_is_left_alone(run_main, mn01_file, tmp_path):
    output = tmp_path / "model"
    output.mkdir()
    (output / "mine.txt").write_text("keep me")
    finished = run_main(mn01_file, output)
    _assert_refused(finished, str(output), "not an empty folder", "name another one")
    assert [path.name for path in output.iterdir()] == ["mine.txt"]


def test_output_that_cannot_be_a_folder_is_one_line(run_main, mn01_file, tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone" / "deep")
    for output in ("file", "file/model", "nowhere", "a" * 300):
        _assert_refused(run_main(mn01_file, tmp_path / output), str(tmp_path / output))
    _assert_refused(run_main(mn01_file, "/"), "error: / already exists")
    _assert_refused(run_main(mn01_file, "/proc/model"), "/proc/model cannot be written")
    assert (tmp_path / "file").read_text() == "in the way"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "nowhere", mn01_file.name}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_line(run_main, mn01_file, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    _assert_refused(run_main(mn01_file, locked / "model"), str(locked / "model"))


def test_a_folder_that_says_it_is_not_writable_is_one_line(
    run_main, mn01_file, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "access", lambda *_: False)
    _assert_refused(run_main(mn01_file, tmp_path / "model"), "is not writable")
    assert not (tmp_path / "model").exists()


def test_a_full_disk_is_one_line(run_main, mn01_file, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stored.ocp.PyTreeCheckpointer, "save", full)
    finished = run_main(mn01_file, tmp_path / "model")
    _assert_refused(finished, str(tmp_path / "model"), "No space left", "free some space")
    assert [path.name for path in tmp_path.iterdir()] == [mn01_file.name]


def test_a_disk_that_takes_only_small_files_is_one_line(run_process, mn01_file, tmp_path):
    """The real thing: the system refuses to write more than 100 kB, in Orbax's threads too."""
    limited = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
        "runpy.run_module('weight_port', run_name='__main__')"
    )
    finished = run_process(mn01_file, tmp_path / "model", python_options=("-c", limited))
    _assert_refused(finished, str(tmp_path / "model"), "cannot be written (File too large)")
    assert [path.name for path in tmp_path.iterdir()] == [mn01_file.name]


# --- published names


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setitem(published.RELEASES, "EfficientAT", address)
        monkeypatch.setattr(published, "PAUSES_S", ())
        yield


def test_a_published_name_without_a_network_says_how_to_do_it_by_hand(
    run_main, tmp_path, no_network
):
    finished = run_main("mn10_as", tmp_path / "model")
    by_hand = tmp_path / "cache" / "qvae_jax" / "mn10_as_mAP_471.pt"
    _assert_refused(finished, "cannot be downloaded", f"by other means and put it at {by_hand}")
    assert not (tmp_path / "model").exists()


def test_a_published_name_is_taken_from_the_cache(run_main, mn01_file, tmp_path, no_network):
    cached = tmp_path / "cache" / "qvae_jax" / "mn01_as_mAP_298.pt"
    cached.parent.mkdir(parents=True)
    mn01_file.rename(cached)
    finished = run_main("mn01_as", tmp_path / "model")
    assert (finished.status, finished.err) == (0, "")
    assert "no digest of mn01_as is known here: its sha256 is" in finished.out


def test_a_folder_called_like_a_published_name_does_not_hide_it(
    run_main, tmp_path, no_network, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mn10_as").mkdir()
    _assert_refused(run_main("mn10_as", "model"), "cannot be downloaded")


def test_a_file_called_like_a_published_name_comes_first(
    run_main, mn01_file, tmp_path, no_network, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    mn01_file.rename(tmp_path / "mn10_as")
    assert run_main("mn10_as", "model").status == 0
    assert stored.load_encoder("model").params.keys()


# --- as a process


def test_a_process_ends_with_one_line_and_status_1(run_process, tmp_path):
    path = tmp_path / "passwords.txt"
    path.write_text("root:x:0:0:root:/root:/bin/bash\n" * 20)
    _assert_refused(run_process(path, tmp_path / "model"), str(path))
    assert [left.name for left in tmp_path.iterdir()] == [path.name]


def test_a_process_that_may_not_run_code_runs_none(run_process, tmp_path):
    class RunsCode:
        """Pickled, it asks whoever loads it to make a folder."""

        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"state_dict": RunsCode()}, tmp_path / "evil.ckpt")
    finished = run_process(tmp_path / "evil.ckpt", tmp_path / "model")
    _assert_refused(finished, "evil.ckpt asks for posix.mkdir", "refused")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.ckpt"]


def test_without_torch_the_error_says_what_to_install(run_process, tmp_path):
    without_torch = (
        "import runpy, sys; sys.modules['torch'] = None; "
        "runpy.run_module('weight_port', run_name='__main__')"
    )
    finished = run_process("a.pt", tmp_path / "model", python_options=("-c", without_torch))
    _assert_refused(finished, "PyTorch", "pip install -r weight_port/requirements.txt")


@pytest.mark.slow
def test_the_largest_encoder_is_ported_within_4_gb(measured_process, tmp_path):
    """mn40's 68 million parameters, from a file of 274 MB."""
    drawn = variables.split(mobilenet.MobileNetV3(4.0, rng=np.random.default_rng(4)))[1]
    path = tmp_path / "mn40_as_mAP_484.pt"
    torch.save(to_torch.encoder_state_dict(drawn, 4.0), path)
    del drawn
    finished, peak_bytes, _ = measured_process(path, tmp_path / "model")
    assert finished.status == 0, finished.err
    assert "68,427,303 parameters" in finished.out
    print(f"peak {peak_bytes / 1e9:.2f} GB")
    assert peak_bytes < 4e9


def test_home_folders_are_meant_by_their_sign(run_main, mn01_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    finished = run_main(f"~/{mn01_file.name}", "~/model")
    assert finished.status == 0, finished.err
    assert (tmp_path / "model" / "config.json").is_file() and not (tmp_path / "~").exists()
    _assert_refused(run_main(mn01_file, "gs://bucket/model"), "gs:/bucket/model", "is an address")


def test_devices_that_do_not_start_are_one_line(run_main, mn01_file, tmp_path, monkeypatch):
    def fails():
        raise RuntimeError("Unknown backend cuda")

    monkeypatch.setattr("jax.devices", fails)
    _assert_refused(run_main(mn01_file, tmp_path / "model"), "JAX starts no device", "Unknown")
    assert not (tmp_path / "model").exists()

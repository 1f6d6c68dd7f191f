"""Archives good, damaged and malicious, and 7-Zip where Python cannot read one."""

import io
import os
import pathlib
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.system import archive_formats, archives, files, seven_zip
from qvae_jax.system.errors import UserError

REPOSITORY = pathlib.Path(__file__).parents[2]
CONTENTS = {
    "references/1_a dog, barking [1].wav": b"woof" * 1000,
    "vocal_imitations/1_a dog, barking [1].wav": bytes(range(256)) * 20,
    "vocal_imitations/2_empty.wav": b"",
    "reference_file_names.csv": b"1_a dog, barking [1].wav\n",
}
KINDS = (".zip", ".tar", ".tar.gz", ".tar.xz")
needs_7z = pytest.mark.skipif(not any(map(shutil.which, seven_zip.COMMANDS)), reason="needs 7-Zip")


def packed(path: pathlib.Path, contents: dict[str, bytes]) -> pathlib.Path:
    """An archive of the kind that its name tells."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
    else:
        mode = {".tar": "w", ".gz": "w:gz", ".xz": "w:xz"}[path.suffix]
        with tarfile.open(path, mode) as archive:
            for name, content in contents.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def tree(folder: pathlib.Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def assert_refused(archive: pathlib.Path, message: str, **options) -> None:
    folder = archive.parent / "set"
    before = sorted(archive.parent.parent.rglob("*"))
    with pytest.raises(UserError, match=message) as caught:
        archives.unpack(archive, folder, **options)
    text = str(caught.value)
    assert str(archive) in text and "\n" not in text and text.endswith(".")
    assert not folder.exists()
    part = files.part_of(folder)
    after = [path for path in archive.parent.parent.rglob("*") if part not in (path, *path.parents)]
    assert sorted(after) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top", ["", "./", "Vim_Sketch_Dataset/", "./Vim_Sketch_Dataset/"])
@pytest.mark.parametrize("is_there", [True, False])
def test_what_is_packed_comes_out_without_its_top_folder(tmp_path, capfd, kind, top, is_there):
    litter = {"__MACOSX/._x": b"x", f"{top}.DS_Store": b"x", f"{top}references/.DS_Store": b"x"}
    contents = {top + name: content for name, content in CONTENTS.items()}
    archive = packed(tmp_path / f"a{kind}", litter | contents)
    folder = tmp_path / "new" / "set"
    if is_there:
        folder.mkdir(parents=True)
    needed = ("references", "vocal_imitations")
    assert archives.unpack(archive, folder, needed=needed) == len(CONTENTS)
    assert tree(folder) == CONTENTS
    assert os.listdir(folder.parent) == ["set"]
    assert capfd.readouterr() == ("", "")


def test_folders_have_entries_of_their_own(tmp_path):
    (tmp_path / "in" / "Top" / "references").mkdir(parents=True)
    (tmp_path / "in" / "Top" / "references" / "1_ä.wav").write_bytes(b"x")
    for kind in ("zip", "gztar"):
        archive = shutil.make_archive(str(tmp_path / "a"), kind, tmp_path / "in")
        folder = tmp_path / kind
        assert archives.unpack(archive, folder, needed=["references"]) == 1
        assert tree(folder) == {"references/1_ä.wav": b"x"}


def test_utf8_names_without_the_flag_are_read_as_utf8(tmp_path):
    """As macOS packs them."""
    archive = packed(tmp_path / "a.zip", {"1_möwe.wav": b"x"})
    content = bytearray(archive.read_bytes())
    for start, offset in ((content.index(b"PK\x03\x04"), 6), (content.index(b"PK\x01\x02"), 8)):
        content[start + offset : start + offset + 2] = b"\0\0"
    archive.write_bytes(content)
    with zipfile.ZipFile(archive) as opened:
        assert opened.namelist() != ["1_möwe.wav"]
    archives.unpack(archive, tmp_path / "set")
    assert os.listdir(tmp_path / "set") == ["1_möwe.wav"]


def _zip_of_mode(name: str, mode: int):
    def make(path: pathlib.Path) -> pathlib.Path:
        with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
            archive.writestr("references/1_a.wav", b"x")
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, b"/etc/passwd")
        return path.with_suffix(".zip")

    return make


def _tar_of_type(name: str, kind: bytes):
    def make(path: pathlib.Path) -> pathlib.Path:
        with tarfile.open(path.with_suffix(".tar"), "w") as archive:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        return path.with_suffix(".tar")

    return make


def _named(name: str, kind: str):
    return lambda path: packed(path.with_suffix(kind), CONTENTS | {name: b"evil"})


def _zip_with_a_null(path: pathlib.Path) -> pathlib.Path:
    content = packed(path.with_suffix(".zip"), {"good.wavX/../../evil": b"x"}).read_bytes()
    path.with_suffix(".zip").write_bytes(content.replace(b"wavX", b"wav\0"))
    return path.with_suffix(".zip")


_EVIL_NAMES = {
    "../evil.wav": "leads out of the folder",
    "references/../../evil.wav": "leads out",
    "..": "leads out",
    "/tmp/evil.wav": "has an absolute name",
    "C:/evil.wav": "has an absolute name",
    "c:evil.wav": "has an absolute name",
    "\\evil.wav": "has an absolute name",
    "references\\..\\..\\evil.wav": "different systems",
    ".unfinished": "needs for itself",
    "references": "as a file and as a folder",
}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_named(name, kind), message)
        for name, message in _EVIL_NAMES.items()
        for kind in (".zip", ".tar")
    ]
    + [
        (_zip_with_a_null, "leads out|different systems"),
        (_zip_of_mode("references/link", stat.S_IFLNK | 0o777), "references/link' is a symbolic"),
        (_zip_of_mode("references/pipe", stat.S_IFIFO | 0o666), "references/pipe' is a device"),
        (_tar_of_type("link", tarfile.SYMTYPE), "'link' is a symbolic link"),
        (_tar_of_type("link", tarfile.LNKTYPE), "'link' is a hard link"),
        (_tar_of_type("device", tarfile.CHRTYPE), "'device' is a device"),
        (_tar_of_type("disk", tarfile.BLKTYPE), "'disk' is a device"),
        (_tar_of_type("pipe", tarfile.FIFOTYPE), "'pipe' is a device or pipe"),
    ],
    # A function's text holds its address, which differs between the processes of a run.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_must_not_be_written_is_refused_by_name_before_anything_is(tmp_path, make, message):
    (tmp_path / "inner").mkdir()
    assert_refused(make(tmp_path / "inner" / "a"), message)
    assert not files.part_of(tmp_path / "inner" / "set").exists()


@pytest.mark.parametrize("kind", [".zip", ".tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused(tmp_path, kind):
    (tmp_path / "inner").mkdir()
    archive = packed(tmp_path / "inner" / f"a{kind}", {"x/1_a": b"1", "x/./1_a": b"2"})
    assert_refused(archive, "holds 'x/./1_a' twice")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("contents", [{}, {"notes.txt": b"x"}, {"a/references/1_a.wav": b"x"}])
def test_another_archive_than_the_one_meant_is_refused(tmp_path, kind, contents):
    (tmp_path / "inner").mkdir()
    archive = packed(tmp_path / "inner" / f"a{kind}", contents)
    assert_refused(
        archive, "holds no .*vocal_imitations", needed=("references", "vocal_imitations")
    )


def test_an_encrypted_zip_is_refused(tmp_path):
    (tmp_path / "inner").mkdir()
    archive = packed(tmp_path / "inner" / "a.zip", CONTENTS)
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    assert_refused(archive, "is encrypted .'references/1_a dog")


@pytest.mark.parametrize(
    "content", [b"", b"not an archive at all" * 100, b"PK\x03\x04", b"\x1f\x8b"]
)
def test_what_is_no_archive_is_refused(tmp_path, monkeypatch, content):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (tmp_path / "inner").mkdir()
    archive = tmp_path / "inner" / "a.bin"
    archive.write_bytes(content)
    assert_refused(archive, "damaged, or neither a zip nor a tar|cannot be read by Python")
    archive.unlink()
    with pytest.raises(UserError, match="cannot be read .No such file"):
        archives.unpack(archive, tmp_path / "set")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept_share", [0.999, 0.9, 0.5, 0.1])
def test_an_archive_cut_short_is_refused(tmp_path, monkeypatch, kind, kept_share):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (tmp_path / "inner").mkdir()
    noise = {f"references/{i}_a.wav": os.urandom(3000) for i in range(10)} | {"list": b""}
    archive = packed(tmp_path / "inner" / f"a{kind}", noise)
    with archive.open("r+b") as file:
        end = archive.stat().st_size - (10_240 if kind == ".tar" else 0)  # of empty blocks
        file.truncate(int(end * kept_share))
    assert_refused(archive, "damaged|cut short|cannot be read by Python")


@pytest.mark.parametrize("kind", [".zip", ".tar.gz", ".tar.xz"])
def test_one_wrong_byte_is_refused_and_what_is_good_stays_in_the_part(tmp_path, kind):
    (tmp_path / "inner").mkdir()
    noise = {f"references/{i}_a.wav": os.urandom(3000) for i in range(10)} | {"list": b""}
    archive = packed(tmp_path / "inner" / f"a{kind}", noise)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 255
    archive.write_bytes(content)
    assert_refused(archive, "damaged")
    kept = tree(files.part_of(tmp_path / "inner" / "set"))
    kept.pop(".unfinished", None)
    assert kept.items() <= noise.items() and (kind != ".zip" or len(kept) >= 3)


_SEED_ARCHIVES = {}


def _seed_archive(kind: str, folder: pathlib.Path) -> bytes:
    if kind not in _SEED_ARCHIVES:
        _SEED_ARCHIVES[kind] = packed(folder / f"seed{kind}", CONTENTS).read_bytes()
    return _SEED_ARCHIVES[kind]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    kept_share=st.just(1.0) | st.floats(0, 1),
)
def test_damaged_archives_give_the_whole_or_nothing(tmp_path_factory, kind, edits, kept_share):
    outer = tmp_path_factory.mktemp("damaged")
    content = bytearray(_seed_archive(kind, outer))
    content = content[: round(kept_share * len(content))]
    for position, value in edits:
        if content:
            content[int(position * (len(content) - 1))] = value
    archive = outer / f"a{kind}"
    archive.write_bytes(content)
    folder = outer / "inner" / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "which", lambda _: None)
        try:
            archives.unpack(archive, folder)
        except UserError as error:
            assert str(archive) in str(error) and "\n" not in str(error)
            assert not folder.exists()
        else:
            # A plain tar's names and contents have no checksum, and a zip's names only themselves.
            if kind == ".tar.gz" or kind == ".tar.xz":
                assert tree(folder) == CONTENTS
            elif kind == ".zip":
                assert sorted(tree(folder).values()) == sorted(CONTENTS.values())
    assert {path.name for path in outer.iterdir()} <= {f"a{kind}", f"seed{kind}", "inner"}


def test_a_folder_with_something_in_it_stays_as_it_is(tmp_path, monkeypatch):
    archive = packed(tmp_path / "a.zip", CONTENTS)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").write_text("kept")
    with pytest.raises(UserError, match="already exists and is not an empty folder"):
        archives.unpack(archive, tmp_path / "set")
    assert tree(tmp_path / "set") == {"mine": b"kept"}
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda folder: folder == tmp_path / "disk")
    with pytest.raises(UserError, match="disk is a whole disk"):
        archives.unpack(archive, tmp_path / "disk")


def test_a_link_to_an_empty_folder_elsewhere_is_followed(tmp_path):
    archive = packed(tmp_path / "a.zip", CONTENTS)
    (tmp_path / "disk" / "empty").mkdir(parents=True)
    (tmp_path / "set").symlink_to(tmp_path / "disk" / "empty")
    archives.unpack(archive, tmp_path / "set")
    assert tree(tmp_path / "disk" / "empty") == CONTENTS


def test_room_on_the_disk_is_looked_at_before_anything_is_written(tmp_path, monkeypatch):
    archive = packed(tmp_path / "a.zip", CONTENTS)
    size = sum(map(len, CONTENTS.values()))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size - 1))
    with pytest.raises(UserError, match="free some space"):
        archives.unpack(archive, tmp_path / "set")
    assert os.listdir(tmp_path) == ["a.zip"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size))
    archives.unpack(archive, tmp_path / "set")


def _stopped_after(num_files: int, monkeypatch):
    replace, count = os.replace, 0

    def stop(source, target):
        nonlocal count
        count += 1
        if count > num_files:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_files", range(len(CONTENTS) + 1))
def test_a_stop_at_any_file_is_gone_on_with(tmp_path, monkeypatch, kind, num_files):
    archive, folder = packed(tmp_path / f"a{kind}", CONTENTS), tmp_path / "set"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        _stopped_after(num_files, patch)
        archives.unpack(archive, folder)
    part = files.part_of(folder)
    written = [path for path in part.rglob("*") if path.is_file() and path.name != ".unfinished"]
    assert len(written) == num_files and not folder.exists()
    numbers = {path.relative_to(part): path.stat().st_ino for path in written}
    archives.unpack(archive, folder)
    assert tree(folder) == CONTENTS and os.listdir(tmp_path) in (
        [archive.name, "set"],
        ["set", archive.name],
    )
    if kind == ".zip":  # those already there were not written again
        assert {path: (folder / path).stat().st_ino for path in numbers} == numbers


def test_a_file_damaged_between_two_calls_is_written_again(tmp_path):
    archive, folder = packed(tmp_path / "a.zip", CONTENTS), tmp_path / "set"
    name = "references/1_a dog, barking [1].wav"
    damaged = files.part_of(folder) / name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(CONTENTS[name][:-1] + b"x")
    archives.unpack(archive, folder)
    assert tree(folder) == CONTENTS


def test_a_part_of_another_archive_is_refused(tmp_path):
    archive, folder = packed(tmp_path / "a.zip", CONTENTS), tmp_path / "set"
    (files.part_of(folder) / "references").mkdir(parents=True)
    (files.part_of(folder) / "references" / "9_other.wav").write_bytes(b"x")
    with pytest.raises(UserError, match="holds 'references/9_other.wav', which the archive does"):
        archives.unpack(archive, folder)
    assert not folder.exists()


# Unpacks, and ends when the 21st file is written but not yet in its place.
KILLED_AT_THE_21ST_FILE = """
import os, signal, sys
from qvae_jax.system import archives

replace, moved = os.replace, []

def killed_at_last(*paths):
    moved.append(paths)
    if len(moved) == 21:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)

os.replace = killed_at_last
archives.unpack(sys.argv[1], sys.argv[2])
"""


def test_killed_in_the_middle_and_run_again(tmp_path):
    contents = {f"references/{number}_a.wav": os.urandom(5000) for number in range(40)}
    contents["list.csv"] = b""
    archive, folder = packed(tmp_path / "a.zip", contents), tmp_path / "set"
    part = files.part_of(folder) / "references"
    command = [sys.executable, "-c", KILLED_AT_THE_21ST_FILE, str(archive), str(folder)]
    assert subprocess.run(command, cwd=REPOSITORY).returncode == -signal.SIGKILL
    assert not folder.exists()
    numbers = {path.name: path.stat().st_ino for path in part.iterdir()}
    assert len(numbers) == 20
    archives.unpack(archive, folder)
    assert tree(folder) == contents
    assert {name: (folder / "references" / name).stat().st_ino for name in numbers} == numbers


def _zip_beyond_4_gib(path: pathlib.Path, gap_before: str) -> pathlib.Path:
    """A zip with a gap of nearly 4 GiB, and positions of 32 bits only, as macOS packs them."""
    directory = b""
    with open(path, "wb") as file:
        for name, content in CONTENTS.items():
            if name == gap_before:
                file.seek(2**32 - 1_000, 1)  # takes no room on the disk
            position, name = file.tell(), name.encode()
            fields = (0, 0, 0, 0x21, zlib.crc32(content), len(content), len(content), len(name), 0)
            file.write(struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, *fields) + name + content)
            rest = (0, 0, 0, 0, position % 2**32)
            directory += (
                struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, *fields, *rest) + name
            )
        end = struct.pack("<II", len(directory), file.tell() % 2**32)
        count = struct.pack("<HHHH", 0, 0, len(CONTENTS), len(CONTENTS))
        file.write(directory + struct.pack("<I", 0x06054B50) + count + end + bytes(2))
    return path


@pytest.mark.parametrize("gap_before", list(CONTENTS)[1:])
def test_a_zip_beyond_4_gib_with_positions_of_32_bits_is_read(tmp_path, monkeypatch, gap_before):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    archive = _zip_beyond_4_gib(tmp_path / "a.zip", gap_before)
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is not None  # the first that it cannot read
    archives.unpack(archive, tmp_path / "set")
    assert tree(tmp_path / "set") == CONTENTS
    archive.unlink()


# What Python cannot read.


def deflate64(archive: pathlib.Path) -> pathlib.Path:
    """The zip under another name of its method: streams without matches of 258 bytes are alike."""
    content = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = content.find(signature)
        while start >= 0:
            field = slice(start + offset, start + offset + 2)
            if content[field] == struct.pack("<H", 8):
                content[field] = struct.pack("<H", 9)
            start = content.find(signature, start + 1)
    archive.write_bytes(content)
    return archive


def numbered(seed: int) -> bytes:
    return b" ".join(b"%d" % (number * seed) for number in range(3000))


DEFLATE64_CONTENTS = {
    "Top/references/1_a b.wav": numbered(3),
    "Top/references/2_empty.wav": b"",
    "Top/.DS_Store": numbered(11),
    "Top/vocal_imitations/1_möwe [2].wav": numbered(5),
    "Top/list.csv": numbered(7),
}
UNPACKED = {
    name.removeprefix("Top/"): content
    for name, content in DEFLATE64_CONTENTS.items()
    if "DS_Store" not in name
}


@needs_7z
@pytest.mark.parametrize("num_files", range(len(UNPACKED) + 1))
def test_a_zip_that_python_cannot_read_is_read_with_7z(tmp_path, num_files):
    archive = deflate64(packed(tmp_path / "a.zip", DEFLATE64_CONTENTS))
    folder = tmp_path / "set"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        _stopped_after(num_files, patch)
        archives.unpack(archive, folder)
    assert archives.unpack(archive, folder, needed=["references"]) == len(UNPACKED)
    assert tree(folder) == UNPACKED


@needs_7z
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[: len(content) // 2], "is damaged or no zip .Python: .*7z"),
        (lambda content: content[:200] + bytes(50) + content[250:], "is damaged at 'Top/ref"),
    ],
)
def test_a_damaged_zip_is_refused_with_7z_too(tmp_path, change, message):
    (tmp_path / "inner").mkdir()
    archive = deflate64(packed(tmp_path / "inner" / "a.zip", DEFLATE64_CONTENTS))
    archive.write_bytes(change(archive.read_bytes()))
    assert_refused(archive, message)


@needs_7z
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: packed(path, DEFLATE64_CONTENTS | {"../evil.wav": numbered(9)}), "leads out"),
        (lambda path: packed(path, DEFLATE64_CONTENTS | {"/evil.wav": numbered(9)}), "absolute"),
        (_zip_of_mode("Top/link", stat.S_IFLNK | 0o777), "'Top/link' is a"),
    ],
    ids=["out", "absolute", "link"],
)
def test_malicious_zips_are_refused_with_7z_too(tmp_path, monkeypatch, make, message):
    def not_for_python(*_):
        raise archive_formats.NotForPython("a test")

    (tmp_path / "inner").mkdir()
    monkeypatch.setattr(archive_formats, "_zip_of_utf8_names", not_for_python)
    assert_refused(make(tmp_path / "inner" / "a.zip"), message)


@pytest.mark.parametrize("installed", ["nothing", "7z", "7za"])
def test_without_a_recent_7z_the_error_says_which_to_install(tmp_path, monkeypatch, installed):
    (tmp_path / "inner").mkdir()
    (tmp_path / "bin").mkdir()
    if installed != "nothing":
        old = tmp_path / "bin" / installed
        old.write_text(
            "#!/bin/sh\necho\necho '7-Zip [64] 16.02 : Copyright'\necho 'p7zip Version'\n"
        )
        old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    archive = deflate64(packed(tmp_path / "inner" / "a.zip", DEFLATE64_CONTENTS))
    message = "compression .*install 7-Zip 21 or newer.*`apt install 7zip` or from 7-zip.org"
    assert_refused(archive, message)
    if installed != "nothing":
        assert_refused(archive, f"{installed} here is older")

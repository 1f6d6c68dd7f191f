"""Archives opened with Python: their files in order, and what is said of one that cannot be read."""

import io
import stat
import tarfile
import zipfile
import zlib

import pytest

from qvae_jax.system import archive_formats
from qvae_jax.system.archive_formats import Member, NotForPython, opened
from qvae_jax.system.errors import UserError

CONTENTS = {"b/2.wav": b"two" * 1000, "a.csv": b"", "ä.txt": b"x"}


def write_zip(path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("b")
        for name, content in CONTENTS.items():
            archive.writestr(name, content)


def write_tar(path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        folder = tarfile.TarInfo("b")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in CONTENTS.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(("write", "has_crc"), [(write_zip, True), (write_tar, False)])
def test_files_come_in_order_without_folders(tmp_path, write, has_crc):
    write(tmp_path / "archive.bin")  # told by its contents
    with opened(tmp_path / "archive.bin") as archive:
        assert archive.members == [
            Member(name, len(content), zlib.crc32(content) if has_crc else None)
            for name, content in CONTENTS.items()
        ]
        assert [b"".join(archive.read(m)) for m in archive.members] == list(CONTENTS.values())


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (0, None),
        (0o644, None),
        (stat.S_IFREG | 0o644, None),
        (stat.S_IFLNK | 0o777, "a symbolic link"),
        (stat.S_IFIFO | 0o644, "a device or pipe"),
        (stat.S_IFCHR | 0o644, "a device or pipe"),
    ],
)
def test_a_members_kind_is_told_by_its_mode(tmp_path, mode, kind):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("name")
        info.external_attr = mode << 16
        archive.writestr(info, b"")
    with opened(tmp_path / "a.zip") as archive:
        assert archive.members[0].kind == kind


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.zip", b"not a zip", NotForPython, "not a zip"),
        ("a.bin", b"PK\x03\x04 and so on", NotForPython, "not a zip"),
        ("a.tar", b"not a tar", UserError, "is damaged, or neither a zip nor a tar"),
        ("a.tar", None, UserError, "a.tar cannot be read .No such file"),
    ],
)
def test_what_cannot_be_opened(tmp_path, name, content, error, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message), opened(tmp_path / name):
        pass


def test_a_method_that_python_lacks_is_for_another_program(tmp_path):
    write_zip(tmp_path / "a.zip")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = content.rindex(signature) + offset
        content[at : at + 2] = (9).to_bytes(2, "little")  # Deflate64
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(NotForPython, match="compression"), opened(tmp_path / "a.zip"):
        pass


def test_an_encrypted_archive_is_named():
    assert str(archive_formats.encrypted("a.zip", "1.wav")) == (
        "The archive a.zip is encrypted ('1.wav'): get one that is not."
    )

"""Which 7-Zip is used, and what its list of an archive is taken for."""

import shutil
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.system import seven_zip
from qvae_jax.system.archive_formats import Member
from qvae_jax.system.errors import UserError


@pytest.mark.parametrize(
    ("banner", "is_used"),
    [
        ("7-Zip (z) 26.01 (x64) : Copyright (c) 1999-2026", True),
        ("7-Zip 24.09 (x64) : Copyright", True),
        ("7-Zip (a) 21.07 (x86) : Copyright", True),
        ("7-Zip [64] 19.00 : Copyright", False),
        ("7-Zip [64] 17.05 : Copyright (c) 1999-2021\\np7zip Version 17.05", False),
        ("something else", False),
    ],
)
def test_the_version_is_read_from_the_banner(tmp_path, monkeypatch, banner, is_used):
    command = tmp_path / "7zz"
    command.write_text(f"#!/bin/sh\necho\nprintf '{banner}\\n'\n")
    command.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(command) if name == "7zz" else None)
    if is_used:
        assert seven_zip._command(tmp_path / "a.zip", "why") == str(command)
    else:
        with pytest.raises(UserError, match="7zz here is older"):
            seven_zip._command(tmp_path / "a.zip", "why")


LISTING = "\n".join(
    (
        *("Path = Top", "Folder = +", "Size = 0", "CRC = ", ""),
        *("Path = Top/empty.wav", "Folder = -", "Size = 0", "CRC = ", "Attributes = A", ""),
        *("Path = Top/1_a = b.wav", "Folder = -", "Size = 12", "Encrypted = -"),
        *("CRC = 0000ABCD", "Attributes = A -rw-r--r--", ""),
    )
)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_list_names_files_with_sizes_and_crcs(line_end):
    assert seven_zip._members("a.zip", LISTING.replace("\n", line_end)) == [
        Member("Top/empty.wav", 0, 0),
        Member("Top/1_a = b.wav", 12, 0xABCD),
    ]


@pytest.mark.parametrize("letter", "lbcps")
def test_what_is_no_file_has_a_kind(letter):
    listing = LISTING.replace("-rw-r--r--", f"{letter}rw-r--r--")
    assert seven_zip._members("a.zip", listing)[1].kind == "a link or device"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("Encrypted = -", "Encrypted = +", "a.zip is encrypted .'Top/1_a = b.wav'"),
        ("Size = 12", "Size =", "a.zip lists no size or CRC of 'Top/1_a = b.wav'"),
        ("CRC = 0000ABCD", "CRC = what", "a.zip lists no size or CRC"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(before, after, message):
    with pytest.raises(UserError, match=message):
        seven_zip._members("a.zip", LISTING.replace(before, after))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text() | st.lists(st.sampled_from(LISTING.splitlines())).map("\n".join))
def test_any_list_is_read_or_refused(listing):
    try:
        members = seven_zip._members("a.zip", listing)
    except UserError as error:
        assert str(error).startswith("The archive a.zip ")
    else:
        assert all(isinstance(member.size, int) for member in members)


# In the place of 7-Zip: it lists an archive of two files, and writes both to a pipe.
STAND_IN = f"""#!{sys.executable}
import sys
answers = {{"": "7-Zip 24.09 : Copyright", "l": {LISTING!r}, "x": "twelve bytes"}}
print(answers["".join(sys.argv[1:2])], end="")
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch) -> None:
    command = tmp_path / "7zz"
    command.write_text(STAND_IN)
    command.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(command) if name == "7zz" else None)


@pytest.mark.parametrize("chosen", [[0, 1], [1], [0]])
def test_files_come_in_order_and_those_not_asked_for_are_passed_over(stand_in, chosen):
    with seven_zip.opened("a.zip", "why") as archive:
        contents = [b"".join(archive.read(archive.members[i])) for i in chosen]
    assert contents == [[b"", b"twelve bytes"][i] for i in chosen]

"""Which names count as one: those that differ in their suffix or in Unicode's form alone."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.data import names

NFC, NFD = "Bj\u00f6rk", "Bjo\u0308rk"


@pytest.mark.parametrize(
    ("one", "other", "count_as_one"),
    [
        ("dog.wav", "dog.flac", True),
        ("dog.wav", "dog.WAV", True),
        ("dog.m4a", "dog.wav", True),
        ("dog", "dog.wav", True),
        (f"{NFC}.wav", f"{NFD}.wav", True),
        (f"{NFC}.wav", f"{NFD}.aiff", True),
        ("\u1112\u1161\u11ab.wav", "\ud55c.wav", True),  # Korean, by letters and by syllable
        ("dog.wav", "Dog.wav", False),
        ("dog v1.5.wav", "dog v1.6.wav", False),
        ("dog.wav", "dog.txt", False),
        ("dog .wav", "dog.wav", False),
        ("\ufb01n.wav", "fin.wav", False),  # a ligature looks different
        ("caf\udce9.wav", "caf\u00e9.wav", False),  # a byte of Latin-1
    ],
)
def test_names_that_count_as_one(one, other, count_as_one):
    assert (names.matching_name(one) == names.matching_name(other)) is count_as_one
    assert (names.first_alike([one, "x", other]) == (one, other)) is count_as_one
    assert names.first_alike(["x", one]) is None


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("001_dog.wav", "dog"), ("001_a_b.c.wav", "a_b.c"), ("dog.wav", ""), ("001_.wav", ""),
        ("001_", ""), ("", ""), (f"1_{NFD}.flac", NFC),
    ],
)  # fmt: skip
def test_the_key_is_what_follows_the_first_underscore(name, key):
    assert names.pairing_key(name) == key


def test_names_that_look_the_same_are_told_apart_in_messages():
    assert names.quoted("a.wav", "ö.wav") == "'a.wav' and 'ö.wav'"
    assert names.quoted(NFC, NFD) == r"'Bj\xf6rk' and 'Bjo\u0308rk'"
    assert names.but_for("1_a.wav", "2_a.wav") == ""
    assert names.but_for("1_a.wav", "2_a.flac") == " but for its suffix or Unicode form"


@settings(derandomize=True, deadline=None)
@given(
    st.text(), st.sampled_from(["NFC", "NFD"]), st.sampled_from([".wav", ".FLAC", ".m4a", ".mp2"])
)
def test_any_name_counts_the_same_in_either_form_and_format(stem, form, suffix):
    expected = names.matching_name(f"{stem}.wav")
    assert names.matching_name(unicodedata.normalize(form, stem) + suffix) == expected

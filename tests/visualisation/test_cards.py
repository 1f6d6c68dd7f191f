"""Cards: the players and pictures of a part's samples, and what is said of their sounds."""

import pathlib

import numpy as np
import pytest

from qvae_jax.generation.inputs import Heard, Source
from qvae_jax.visualisation import cards, figures
from qvae_jax.visualisation.samples import Sample

NOISE = (0.1 * np.random.default_rng(0).standard_normal(22_050)).astype(np.float32)


def sample(imitation=NOISE, file_duration_s: float = 1.0, generated=NOISE) -> Sample:
    path = pathlib.Path("hum.wav")
    source = Source(path, "hum.wav", "hum", pathlib.Path("sounds/bark.wav"))
    heard = Heard(imitation, 0.0, file_duration_s)
    return Sample(22_050, source, heard, imitation, NOISE, generated)


@pytest.fixture
def drawn(monkeypatch) -> dict[str, list]:
    """The pictures that would be drawn, by their files' names."""
    found = {}
    keep = lambda path, rows, title: found.update({path.name: [rows, title]})
    monkeypatch.setattr(figures, "save_sample", keep)
    monkeypatch.setattr(figures, "save_comparison", keep)
    return found


def test_each_sample_has_a_card_and_a_picture_and_all_have_one(drawn, tmp_path):
    found = cards.draw_part("train", [sample(), sample()], tmp_path, 7)
    assert list(drawn) == ["train_01.png", "train_02.png", "train.png"]
    assert [card.title for card in found] == ["train 1: hum.wav", "train 2: hum.wav"]
    assert [card.picture.path.name for card in found] == ["train_01.png", "train_02.png"]
    rows, title = drawn["train.png"]
    assert title == "train, step 7" and [len(row) for row in rows] == [3, 3]
    titles = [sound.title for sound in rows[0]]
    assert titles == ["imitation hum.wav", "reference bark.wav", "generated"]


def test_the_players_are_imitation_reference_and_sound(drawn, tmp_path):
    [card] = cards.draw_part("train", [sample()], tmp_path, 7)
    roles = [(player.role, player.name, player.duration_s) for player in card.players]
    assert roles == [
        ("imitation", "hum.wav", 1.0), ("reference", "bark.wav", 1.0), ("generated", "", 1.0),
    ]  # fmt: skip
    for player in card.players:
        assert player.flac.startswith(b"fLaC")
        [note] = player.notes
        assert note.startswith("RMS \N{MINUS SIGN}20.") and "centroid 5." in note


@pytest.mark.parametrize(
    ("changes", "player", "notes"),
    [
        ({"file_duration_s": 4.0}, 0, ["the first 1.0 s of 4.0 s, as the model heard it"]),
        ({"file_duration_s": 1.009}, 0, []),
        ({"generated": 20 * NOISE}, 2, ["dB quieter, since it would clip"]),
        ({"generated": NOISE}, 2, []),
    ],
    ids=str,
)
def test_what_is_odd_about_a_sound_is_said(drawn, tmp_path, changes, player, notes):
    [card] = cards.draw_part("train", [sample(**changes)], tmp_path, 7)
    found = card.players[player].notes[1:]
    assert len(found) == len(notes) and all(b in a for a, b in zip(found, notes))


def test_silence_is_called_silent(drawn, tmp_path):
    [card] = cards.draw_part("train", [sample(np.zeros(22_050, np.float32))], tmp_path, 7)
    assert card.players[0].notes == ["silent"]


def test_a_steered_sound_is_the_last_of_its_sample(drawn, tmp_path):
    found = sample()._replace(steered=NOISE[:11_025])
    [card] = cards.draw_part("train", [found], tmp_path, 7)
    assert [player.role for player in card.players][2:] == ["generated", "steered"]
    assert card.players[3].duration_s == 0.5
    assert card.players[3].notes[1] == "as loud, bright and high as the imitation"
    assert [len(sounds) for sounds in drawn["train.png"][0]] == [4]
    assert len(drawn["train_01.png"][0]) == 4

"""Sounds and their entries: in order and in batches, each input read once, the fault named."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

import small_run
from plain_model import PlainModel
from qvae_jax import configuration
from qvae_jax.audio.files import write_wav
from qvae_jax.data import layouts
from qvae_jax.generation import finishing, naming, sounds
from qvae_jax.generation import inputs as generation_inputs
from qvae_jax.generation.inputs import Source, pair_sources
from qvae_jax.generation.latents import Latent
from qvae_jax.generation.model import Model
from qvae_jax.generation.requests import Finish, LatentRequest
from qvae_jax.generation.sounds import HeardInputs, write_sounds
from qvae_jax.generation.voice import Voice
from qvae_jax.system.errors import UserError


def hums(folder, *levels: float, reference=None) -> list[Source]:
    """Constant sounds of these levels, half a second each."""
    found = []
    for number, level in enumerate(levels):
        path = folder / f"hum {number}.wav"
        write_wav(path, np.full(16_000, level, np.float32), 32_000)
        found.append(Source(path, str(path), path.stem, reference))
    return found


def written(sources, folder, model=None, **asked) -> tuple[list[dict], HeardInputs]:
    """The entries of the sounds that a model makes of sources."""
    request, finish = LatentRequest(**asked), finishing.with_rate(Finish(subtype="FLOAT"), 22_050)
    stems = naming.stems(sources)
    heard = HeardInputs(sources, stems, folder)
    names = naming.sound_names(stems, request, finish.format)
    return write_sounds(model or PlainModel(), heard, request, finish, names, folder), heard


def test_an_entry_tells_what_a_sound_is_made_of(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    reference = hums(tmp_path / "reference", 0.5)[0].path
    sources = hums(tmp_path, 0.2, 0.4, reference=reference)
    entries, heard = written(sources, out)
    for place, (source, entry) in enumerate(zip(sources, entries, strict=True), start=1):
        assert (entry["input"], entry["place"]) == (source.name, place)
        assert entry["z"] == entry["mu"] and entry["reference"].startswith(f"0{place}_hum")
        audio, _ = soundfile.read(out / entry["generated"], dtype="float32")
        np.testing.assert_allclose(audio, entry["mu"][0])
        assert (out / entry["reference"]).is_file()
        assert soundfile.info(out / f"{heard.stems[place - 1]}_input.wav").duration == 0.5
    assert [facts["heard_duration_s"] for facts in heard.facts] == [0.5, 0.5]


def test_a_sound_of_no_input_says_so(tmp_path):
    entries, heard = written([], tmp_path, prior_samples=11)
    assert len(entries) == 11 and heard.facts == []
    assert entries[0]["input"] is entries[0]["reference"] is entries[0]["mu"] is None


def test_several_batches_equal_one_by_one(data_set, tmp_path, monkeypatch):
    # Features of an early layer, for two programs are to be compiled.
    config = small_run.config(data_set, **{"model.feature_space": "1"})
    model_config = configuration.model_config(config)
    model = Model(model_config, configuration.initial_variables(config, model_config))
    index = layouts.read_index(data_set)
    found = pair_sources(index, index.pairs[:5])
    stems = naming.stems(found)
    request = LatentRequest(temperature=1.0, variations=2, seed=5)
    finish = finishing.with_rate(Finish(subtype="FLOAT"), 22_050)
    names = naming.sound_names(stems, request, "wav")

    def by_batches_of(batch_size: int) -> list[tuple[dict, np.ndarray]]:
        monkeypatch.setattr(sounds, "BATCH_SIZE", batch_size)
        place = tmp_path / f"{batch_size}"
        place.mkdir()
        heard = HeardInputs(found, stems, place)
        entries = write_sounds(model, heard, request, finish, names, place)
        assert [facts["input"] for facts in heard.facts] == [source.name for source in found]
        return [
            (entry, soundfile.read(place / entry["generated"], dtype="float32")[0])
            for entry in entries
        ]

    several, one_by_one = by_batches_of(3), by_batches_of(1)
    assert len(several) == len(one_by_one) == 2 * 5
    for (many, many_audio), (one, one_audio) in zip(several, one_by_one):
        np.testing.assert_allclose(many_audio, one_audio, atol=1e-5)
        assert (many["place"], many["variation"]) == (one["place"], one["variation"])
        for part in ("mu", "logvar", "z"):
            np.testing.assert_allclose(many[part], one[part], atol=1e-5)
    first_of = [audio for entry, audio in several if entry["variation"] == 1]
    assert not np.allclose(first_of[0], first_of[3], atol=1e-3)


def test_each_input_is_read_once(tmp_path, monkeypatch):
    sources = hums(tmp_path, 0.1, 0.2, 0.3)
    heard = []

    def hear(source, *arguments, **options):
        heard.append(source.name)
        return generation_inputs.hear(source, *arguments, **options)

    monkeypatch.setattr(sounds, "hear", hear)
    written(sources, tmp_path, variations=4, temperature=1.0)
    assert heard == [source.name for source in sources]


def test_the_next_batch_is_made_while_one_is_decoded(tmp_path):
    taken = []

    def drawn():
        for number in range(6):
            taken.append(number)
            yield Latent(np.zeros(2, np.float32), "", None, {}), None

    with ThreadPoolExecutor(1) as threads:
        made = sounds.synthesise(PlainModel(), drawn(), HeardInputs([], [], tmp_path), 2, threads)
        next(made)
        assert taken == [0, 1, 2, 3], "one batch ahead, and no more"
        assert len(list(made)) == 5


class SpoiltModel(PlainModel):
    """Fails as a model of weights that are not finite does."""

    def decode(self, z, *, names, **how):
        raise UserError(f"not finite of {names[1]}")


def test_the_input_of_a_sound_that_is_not_finite_is_named(tmp_path):
    sources = hums(tmp_path, 0.1, 0.2)
    with pytest.raises(UserError, match="not finite of .*hum 1.wav"):
        written(sources, tmp_path, SpoiltModel())
    with pytest.raises(UserError, match="not finite of $"):
        written([], tmp_path, SpoiltModel(), prior_samples=2)


def test_the_curves_of_inputs_go_with_their_posteriors(tmp_path, monkeypatch, capsys):
    """And what of each steers is told; one that is longer than any sound is named."""
    curves = np.arange(40, dtype=np.float32).reshape(10, 4)
    monkeypatch.setattr(sounds.voice, "voice_of", lambda samples: Voice(curves, len(samples)))
    sources = hums(tmp_path, 0.1, 0.2)
    write_wav(sources[1].path, np.full(61_000, 0.1), 1_000)
    stems = naming.stems(sources)
    heard = HeardInputs(sources, stems, tmp_path, measured=True)
    with ThreadPoolExecutor(1) as threads:
        posteriors = list(heard.posteriors(PlainModel(), threads))
    assert all(posterior.voice is curves for posterior in posteriors)
    first, second = heard.facts
    assert (first["leading_silence_s"], second["leading_silence_s"]) == (11_025, 60 * 22_050)
    assert first["steered_duration_s"] == pytest.approx(10 * 243 / 22_050)
    assert (first["steering_cut"], second["steering_cut"]) == (False, True)
    said = f"note: of {sources[1].name} the first 60 s steer, and no more\n"
    assert capsys.readouterr().out.endswith(said)


def test_what_sounds_are_to_be_like_is_encoded_once(tmp_path):
    sources = hums(tmp_path, 0.1, 0.2, 0.3)
    like = generation_inputs.hear(hums(tmp_path / "like", 0.4)[0], PlainModel.front_end)
    heard = HeardInputs(sources, naming.stems(sources), tmp_path, sounds_like=like)
    with ThreadPoolExecutor(1) as threads:
        found = [posterior.mu[0] for posterior in heard.posteriors(PlainModel(), threads)]
    np.testing.assert_allclose(found, 0.4 * 16_000 / PlainModel.front_end.num_samples, rtol=1e-5)

"""A few pairs, learnt by heart by a decoder of the original's length, and heard."""

import soundfile

import small_run


def test_a_few_pairs_are_learnt(data_set, tmp_path):
    workdir = small_run.trained(
        data_set,
        tmp_path / "run",
        **{
            "overfit.num_pairs": 3,
            "training.steps_per_epoch": 40,
            "training.num_epochs": 1,
            "logging.every_steps": 10,
            "logging.num_samples": 1,
        },
    )
    entries = small_run.measured(workdir)
    assert [e["step"] for e in entries if e["part"] == "train"] == [10, 20, 30, 40]
    assert [e["part"] for e in entries][-1] == "validation"
    first, last = entries[0]["total"], entries[-2]["total"]
    assert last < 0.9 * first
    sounds = [soundfile.info(path) for path in (workdir / "samples").rglob("*.wav")]
    assert len(sounds) >= 2, "what was generated, and its reference"
    assert {(sound.frames, sound.samplerate) for sound in sounds} == {(59_049, 22_050)}

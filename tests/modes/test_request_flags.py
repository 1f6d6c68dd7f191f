"""Each flag belongs to the modes that ask for it; requests are filled from those given."""

import dataclasses

import pytest
from absl import flags
from absl.testing import flagsaver

from qvae_jax import command_line  # noqa: F401  (defines the flags)
from qvae_jax.generation.requests import Finish, LatentRequest
from qvae_jax.modes import request_flags
from qvae_jax.modes.request_flags import FLAGS, MODES
from qvae_jax.modes.requests import REQUESTS, GenerateRequest, TrainRequest
from qvae_jax.system.errors import UserError

FOREIGN = [(mode, name) for mode in FLAGS for name in MODES if name not in FLAGS[mode]]


@pytest.fixture
def given():
    """given(name=value, ...) sets flags as the command line would."""
    flags.FLAGS.mark_as_parsed()
    saved = flagsaver.save_flag_values()

    def set_flags(**values):
        for name, value in values.items():
            flags.FLAGS[name].value = value

    yield set_flags
    flagsaver.restore_flag_values(saved)


@pytest.mark.parametrize(("mode", "name"), FOREIGN)
def test_a_flag_of_another_mode_is_refused_with_the_modes_that_take_it(given, mode, name):
    given(**{name: "x"})
    with pytest.raises(UserError) as refused:
        request_flags.check(mode)
    belongs_to = ", ".join(MODES[name])
    assert f"--mode={mode} does not take --{name} (a flag of {belongs_to}): " in str(refused.value)


@pytest.mark.parametrize("mode", REQUESTS)
def test_the_flags_of_a_mode_are_taken(given, mode):
    given(**{name: "x" for name in FLAGS[mode]})
    request_flags.check(mode)


@pytest.mark.parametrize("mode", REQUESTS)
def test_what_a_mode_needs_is_asked_for_all_at_once(given, mode):
    needed = [f"--{name}" for name, f in FLAGS[mode].items() if f.metadata.get("required")]
    if needed:
        with pytest.raises(UserError, match=f"--mode={mode} needs {' and '.join(needed)}"):
            request_flags.check(mode)
    else:
        request_flags.check(mode)


@pytest.mark.parametrize("instead", ["from_split", "walk_dimension", "prior_samples"])
def test_inputs_are_not_needed_where_something_stands_in_for_them(given, instead):
    given(**{instead: 0, "output_dir": "out"})
    request_flags.check("generate")


@pytest.mark.parametrize("mode", REQUESTS)
def test_a_request_without_flags_is_as_its_fields_say(given, mode):
    assert request_flags.request_of(mode) == REQUESTS[mode]()


def test_a_request_is_filled_from_the_flags_and_so_are_those_in_it(given):
    given(inputs="a.wav,b.wav", seed=0, temperature=0.0, sample_rate=48_000, window="loudest")
    assert request_flags.request_of("generate") == GenerateRequest(
        inputs="a.wav,b.wav",
        window="loudest",
        latents=LatentRequest(temperature=0.0),
        finish=Finish(sample_rate_hz=48_000),
    )
    given(workdir="runs/a", reset_epoch=True, process_id=0)
    expected = TrainRequest(workdir="runs/a", reset_epoch=True, process_id=0)
    assert request_flags.request_of("train") == expected


def test_one_name_means_one_kind_of_value_in_all_modes():
    for name, modes in MODES.items():
        kinds = {FLAGS[mode][name].type for mode in modes}
        assert len(kinds) == 1 or name == request_flags.CONFIG, name


def test_every_field_says_what_it_is():
    for fields in FLAGS.values():
        for name, field in fields.items():
            text = field.metadata["help"]
            assert text[0].isalnum() and text.endswith("."), name
    assert all(dataclasses.is_dataclass(request) for request in REQUESTS.values())


# --- What is parsed


PATHS = sorted(
    {n for fields in FLAGS.values() for n, f in fields.items() if f.metadata.get("path")}
)
NO_PATHS = (
    "from_split", "window", "format", "subtype", "coordinator_address", "existing", "steer", "duration",
    "host", "licence",
)  # fmt: skip
MIXED = ("inputs", "source", "config")  # of several paths, or of a path or something else


@pytest.fixture
def parsed():
    """parsed(argument, ...) parses flags as the command line does, and gives flags.FLAGS."""
    saved = flagsaver.save_flag_values()
    yield lambda *arguments: flags.FLAGS(["main.py", *arguments]) and flags.FLAGS
    flagsaver.restore_flag_values(saved)


def test_every_flag_that_is_a_path_is_marked_as_one():
    texts = {
        n for fields in FLAGS.values() for n, f in fields.items() if f.type in (str, str | None)
    }
    assert texts - {*NO_PATHS, *MIXED} == set(PATHS)


@pytest.mark.parametrize("name", PATHS)
def test_a_home_folder_is_meant_by_its_sign_and_addresses_are_refused(monkeypatch, parsed, name):
    monkeypatch.setenv("HOME", "/homes/me")
    assert parsed(f"--{name}=~/x y")[name].value == "/homes/me/x y"
    assert parsed(f"--{name}=")[name].value == ""
    for faulty, said in [("gs://b/x", "is an address"), ("~no_such_user/x", "is not known")]:
        with pytest.raises(flags.IllegalFlagValueError, match=f"--{name}={faulty}: .*{said}"):
            parsed(f"--{name}={faulty}")


def test_only_what_names_a_model_takes_one_on_the_hub(parsed):
    assert parsed("--checkpoint=hf://owner/name@v1")["checkpoint"].value == "hf://owner/name@v1"
    for faulty in ("--workdir=hf://owner/name", "--embedder=hf://owner/name"):
        with pytest.raises(flags.IllegalFlagValueError, match="is an address: give the path"):
            parsed(faulty)
    with pytest.raises(flags.IllegalFlagValueError, match="is no address on the Hugging Face Hub"):
        parsed("--checkpoint=hf://name")


@pytest.mark.parametrize("name", ["mode", "inputs", "workdir", "num_samples"])
def test_a_flag_given_twice_is_refused(parsed, name):
    value = {"mode": "train", "num_samples": "3"}.get(name, "x")
    parsed(f"--{name}={value}", f"--{name}={value}")
    with pytest.raises(UserError, match=f"--{name} is given more than once: give it once"):
        request_flags.check("train")

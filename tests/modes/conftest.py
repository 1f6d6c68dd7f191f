"""Runs of a decoder that is over in no time, for what does not hang on the length of sounds."""

import pathlib

import pytest

import killed_run
import small_run


@pytest.fixture(scope="module")
def short_decoder():
    """Lets decoders give 729 samples, which two windows compare, as long as a module's tests run."""
    with pytest.MonkeyPatch.context() as patch:
        killed_run.shrink(patch.setattr)
        yield


@pytest.fixture(scope="session")
def short_data_set(tmp_path_factory) -> pathlib.Path:
    """The data set, with a cache of its own, for targets are shorter than others'."""
    return small_run.write_data_set(tmp_path_factory.mktemp("short_data") / "data_set")


@pytest.fixture(scope="module")
def short_frozen_run(short_decoder, short_data_set, tmp_path_factory) -> pathlib.Path:
    """A finished run with a frozen encoder. Copy it before changing anything."""
    return small_run.trained(short_data_set, tmp_path_factory.mktemp("short_frozen") / "run")

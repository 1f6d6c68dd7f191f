"""What reading audio files to their ends shows, in little memory however long they are."""

import dataclasses
import functools
import hashlib
import itertools
import os
import pathlib
import subprocess
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from qvae_jax.audio.files import open_audio
from qvae_jax.audio.levels import Energies, is_plausible
from qvae_jax.data.processes import NotStarted, ProcessEnded, map_in_processes
from qvae_jax.system.cores import num_usable_cores
from qvae_jax.system.errors import UserError

# A peak of a loud sound touches full scale, and one that was clipped stays there. With 8 bits full
# scale is 0.992.
CLIP_LEVEL = 0.99
CLIP_RUN_SAMPLES = 3
CRASHED = "decoding it crashes libsndfile, or takes more memory than there is"


@dataclasses.dataclass(frozen=True)
class Examination:
    """What is known about a file; where `fault` is not None, nothing else is.

    Attributes:
        fault: why the file cannot be read; None where it can.
        duration_s: duration of what was decoded.
        sample_rate_hz: the file's own.
        num_channels: the file's own.
        encoding: libsndfile's format and subtype, such as "WAV PCM_16".
        peak: largest magnitude of a sample, leaving out blocks with samples that are not finite.
        swing: half of the difference between the highest and the lowest of those samples: the peak
            without a constant that nobody hears.
        clipped_share: share of the samples, over all channels, that are the third or a later one in
            a row of equal samples at full scale. Lossy formats blur such rows.
        is_cancelled: whether the channels cancel each other, so that little is left of their mean.
        goes_on: whether there may be more sound than the header states.
        is_finite: whether no sample is NaN, infinite or absurdly large.
        sound_digest: SHA-256 of rate, channels and decoded samples. It is the same for the same
            sound in another lossless container, or with other tags.
    """

    fault: str | None = None
    duration_s: float = 0.0
    sample_rate_hz: int = 0
    num_channels: int = 0
    encoding: str = ""
    peak: float = 0.0
    swing: float = 0.0
    clipped_share: float = 0.0
    is_cancelled: bool = False
    goes_on: bool = False
    is_finite: bool = True
    sound_digest: str = ""


def examine(path: str | os.PathLike) -> Examination:
    """Reads a file to its end; what read_audio would raise becomes the examination's `fault`."""
    try:
        with open_audio(path) as audio:
            digest = hashlib.sha256(f"{audio.sample_rate_hz} {audio.num_channels} ".encode())
            num_frames, num_clipped, is_finite = 0, 0, True
            lowest, highest = np.inf, -np.inf
            energies = Energies()
            before = np.zeros((0, audio.num_channels), np.float32)
            for block in audio.blocks:
                digest.update(block.tobytes())
                num_frames += len(block)
                if is_plausible(block):
                    lowest, highest = min(lowest, block.min()), max(highest, block.max())
                    energies.add(block, block.mean(axis=1))
                else:
                    is_finite = False
                joined = np.concatenate([before, block])
                num_clipped += _num_clipped(joined)
                before = joined[-(CLIP_RUN_SAMPLES - 1) :]
            return Examination(
                duration_s=num_frames / audio.sample_rate_hz,
                sample_rate_hz=audio.sample_rate_hz,
                num_channels=audio.num_channels,
                encoding=audio.encoding,
                peak=float(max(highest, -lowest, 0.0)),
                swing=float(max(highest - lowest, 0.0)) / 2,
                clipped_share=num_clipped / (num_frames * audio.num_channels),
                is_cancelled=energies.are_cancelled,
                goes_on=audio.goes_on,
                is_finite=is_finite,
                sound_digest=digest.hexdigest(),
            )
    except UserError as error:
        return Examination(fault=str(error))


def examine_all(
    paths: Sequence[pathlib.Path],
    *,
    num_processes: int | None = None,
    examine_file: Callable[[pathlib.Path], Examination] = examine,
) -> Iterator[Examination]:
    """Examines files in parallel processes, and gives the results in the files' order.

    Args:
        paths: the files.
        num_processes: how many; None: one for each core that this process may use.
        examine_file: what to do with each file; a file at which its process dies gets the fault
            CRASHED.

    Raises:
        UserError: no process can be started.
    """
    num_processes = num_processes or num_usable_cores()
    num_done = 0
    while num_done < len(paths):
        try:
            for result in _results(examine_file, paths[num_done:], num_processes):
                yield result
                num_done += 1
        except ProcessEnded:  # at this file or soon after it
            yield _examined_alone(examine_file, paths[num_done])
            num_done += 1


def _examined_alone(examine_file: Callable, path: pathlib.Path) -> Examination:
    try:
        [result] = _results(examine_file, [path], num_processes=1)
    except ProcessEnded:
        return Examination(fault=CRASHED)
    return result


def _results(
    examine_file: Callable, paths: Sequence[pathlib.Path], num_processes: int
) -> Iterator[Examination]:
    silent = functools.partial(_without_notices, examine_file)
    try:
        # What decoders write to standard error is discarded.
        yield from map_in_processes(silent, paths, num_processes, stderr=subprocess.DEVNULL)
    except NotStarted as error:
        raise UserError("no process can be started to read files in: free some memory.") from error


def _without_notices(examine_file: Callable, path: pathlib.Path) -> Examination:
    """The examination, which says what notices would."""
    with warnings.catch_warnings(action="ignore"):
        return examine_file(path)


def _num_clipped(samples: np.ndarray) -> int:
    """How many samples [frames, channels] are at full scale and equal to the two before them."""
    shifted = [
        samples[start : len(samples) - CLIP_RUN_SAMPLES + 1 + start]
        for start in range(CLIP_RUN_SAMPLES)
    ]
    is_flat = np.abs(shifted[0]) >= CLIP_LEVEL
    for earlier, later in itertools.pairwise(shifted):
        is_flat &= earlier == later
    return int(np.count_nonzero(is_flat))

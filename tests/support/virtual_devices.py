"""Programs in a process of their own, which sees one CPU as several devices."""

import os
import pathlib

import numpy as np

import compiling

REPOSITORY = pathlib.Path(__file__).parents[2]


def environment(num_devices: int, **more: str) -> dict[str, str]:
    """The environment of a process with so many devices, which shares what tests have compiled."""
    given = os.environ.get("XLA_FLAGS", "")
    return compiling.environment(
        XLA_FLAGS=f"{given} --xla_force_host_platform_device_count={num_devices}".strip(),
        JAX_PLATFORMS="cpu",
        PYTHONPATH=f"{REPOSITORY}:{REPOSITORY / 'tests/support'}",
        **more,
    )


def by_placement(path: pathlib.Path, placements: tuple[str, ...]) -> dict[str, dict]:
    """The arrays of a file of PLACEMENT/NAME, by placement and then by name."""
    with np.load(path) as archive:
        found = dict(archive)
    of = lambda placement: {
        name.removeprefix(f"{placement}/"): array
        for name, array in found.items()
        if name.startswith(f"{placement}/")
    }
    return {placement: of(placement) for placement in placements}

"""python -m weight_port SOURCE OUTPUT_DIR: a PyTorch checkpoint into a model folder."""

import argparse
import pathlib
import sys

from absl import logging

from qvae_jax.errors import UserError
from weight_port import port, published
from weight_port.source import read_source


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    logging.set_verbosity(logging.ERROR)
    try:
        if options.source in published.PUBLISHED and not pathlib.Path(options.source).exists():
            path = published.fetch(options.source)
        else:
            path = pathlib.Path(options.source)
        source = read_source(path)
        ported = port.port(source, options.encoder)
        port.write(ported, options.output_dir)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _report(ported, options.output_dir)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m weight_port", description=__doc__)
    parser.add_argument(
        "source",
        help="a PyTorch file (EfficientAT state dict, QVIM or QVAE Lightning checkpoint), or a "
        f"published name: {', '.join(published.PUBLISHED)}",
    )
    parser.add_argument("output_dir", type=pathlib.Path, help="the model folder to write")
    parser.add_argument(
        "--encoder",
        choices=("imitation", "reference"),
        default="imitation",
        help="which encoder of a QVIM checkpoint to port (default: %(default)s)",
    )
    return parser


def _report(ported: port.Port, output_dir: pathlib.Path) -> None:
    arrays = {**ported.variables.params, **ported.variables.batch_stats}
    numbers = sum(array.size for array in ported.variables.params.values())
    origin = ported.description["source"]
    print(f"{origin['format']} {origin['file']} (sha256 {origin['sha256'][:16]}…)")
    print(f"{ported.description['kind']}: {ported.description['model']}")
    print(f"{len(arrays)} arrays, {numbers:,} parameters, written to {output_dir}")


if __name__ == "__main__":
    sys.exit(main())

"""python -m weight_port SOURCE OUTPUT_DIR: a PyTorch checkpoint to a model folder, or back."""

import argparse
import difflib
import pathlib
import sys

from qvae_jax.system import entrance
from qvae_jax.system.command import is_checkout
from qvae_jax.system.errors import UserError, counted

with entrance.importing():
    import jax
    from absl import logging

    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        what = "-r weight_port/requirements.txt" if is_checkout() else "'qvae_jax[port]'"
        sys.exit(f"error: weight_port needs PyTorch, which is not installed: pip install {what}")

    from qvae_jax.system import caches, platforms
    from qvae_jax.system.paths import local_path
    from weight_port import names, port, published, to_torch, unstated, verify, writing
    from weight_port.source import Source, read_source


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line. Returns the exit status: 1 after a one-line error on stderr."""
    options = _parser().parse_args(arguments)
    # Orbax also raises what it logs.
    logging.set_verbosity(logging.FATAL)
    caches.prepare_for_libraries()
    try:
        platforms.start_backend()
        options.source = local_path(options.source)
        options.output = pathlib.Path(local_path(str(options.output)))
        return _to_torch(options) if options.to_torch else _from_torch(options)
    except UserError as error:
        print(f"error: {entrance.escaped(str(error))}", file=sys.stderr)
        return 1


def _from_torch(options: argparse.Namespace) -> int:
    source = read_source(
        _path(options.source), allow_pickle=options.allow_pickle, weights=options.weights
    )
    ported = port.port_all(source, **{name: getattr(options, name) for name in port.CHOICES})
    writing.write(ported, options.output)
    for folder, one in ported.items():
        _report(one, options.output / folder)
    if options.verify:
        for folder, one in ported.items():
            _verify(options, source, one, folder)
    return 0


def _verify(options: argparse.Namespace, source: Source, ported: port.Port, folder: str) -> None:
    """Prints how far a ported model's layers lie from torch's; UserError where that is too far."""
    rows = verify.compare(source, ported)
    if folder != ".":
        print(f"{folder}:")
    print(verify.table(rows))
    worst = max(row.relative for row in rows)
    # Not "worst > BOUND", which would pass a NaN.
    if worst <= verify.BOUND:
        print(f"verified: no layer differs by more than {verify.BOUND} of its largest value")
        return
    raise UserError(
        f"{options.source} gives other results here than in torch: a layer differs by {worst:.2e} "
        f"of its largest value, over the bound of {verify.BOUND}; please report it."
    )


def _to_torch(options: argparse.Namespace) -> int:
    others = ("verify", "weights", *port.CHOICES, "allow_pickle")
    given = [f"--{name}" for name in others if getattr(options, name)]
    if given:
        raise UserError(f"{' and '.join(given)} cannot be combined with --to_torch.")
    count = to_torch.convert(pathlib.Path(options.source), options.output)
    print(f"{counted(count, 'tensor')} written to {options.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m weight_port", description=__doc__)
    parser.add_argument(
        "source",
        help="a PyTorch file (EfficientAT, QBV or SampleCNN state dict, QVIM or QVAE Lightning "
        "checkpoint), the package of aiSFX, or a published name such as mn10_as "
        "(weight_port/README.md lists them); with --to_torch, a model folder or a training run",
    )
    parser.add_argument(
        "output",
        metavar="OUTPUT_DIR",
        type=pathlib.Path,
        help="the model folder to write; with --to_torch, the PyTorch file",
    )
    parser.add_argument(
        "--weights",
        metavar="NAME",
        help="which weights to port of a file that holds several sets, such as a model and its "
        "moving average, or more than the model; its error message lists their names",
    )
    parser.add_argument(
        "--encoder",
        choices=port.ENCODERS,
        help="which encoder of a QVIM or QBV checkpoint to port; by default both, each into a folder "
        "of its name in OUTPUT_DIR",
    )
    parser.add_argument(
        "--decoder",
        choices=tuple(names.DECODERS),
        help="the decoder of a QVAE checkpoint that does not state it",
    )
    parser.add_argument(
        "--feature_space",
        choices=unstated.FEATURE_SPACES,
        metavar="SPACE",
        help="what the heads of a QVAE checkpoint read that does not state it: final, or the "
        "number of a layer",
    )
    parser.add_argument(
        "--published_as",
        choices=tuple(published.PUBLISHED),
        metavar="NAME",
        help="the published model that a renamed EfficientAT file holds or was trained from, which "
        "tells the hop, the mel bands and the strides; no tensor does",
    )
    parser.add_argument(
        "--allow_pickle",
        action="store_true",
        help="also load files that hold more than tensors and plain values; this runs any code in "
        "them, so use it only for files you trust",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="also run the model in torch and here, and print how far every layer differs",
    )
    parser.add_argument(
        "--to_torch",
        action="store_true",
        help="go the other way: write a model trained or ported here as a PyTorch state dict",
    )
    return parser


def _path(source: str) -> pathlib.Path:
    path = pathlib.Path(source)
    if source in published.PUBLISHED and not path.is_file():
        return published.fetch(source)
    if not path.exists():
        _say_what_is_meant(source)
    return path


def _say_what_is_meant(source: str) -> None:
    """Raises UserError where a source that is absent looks like a name that there is."""
    if source.lower() == "aisfx":
        raise UserError(
            "aiSFX is not downloaded here: run `pip download --no-deps aisfx==0.1.2` and give the "
            ".whl file that it leaves."
        )
    near = difflib.get_close_matches(source, published.PUBLISHED)
    if near:
        raise UserError(
            f"{source} is neither a file nor a published name: did you mean {' or '.join(near)}?"
        )


def _report(ported: port.Port, output_dir: pathlib.Path) -> None:
    num_parameters = sum(array.size for array in ported.variables.params.values())
    num_arrays = sum(map(len, ported.variables))
    description = ported.description
    origin = description["source"]
    model = dict(description["model"])
    front_end = model.pop("front_end", {})
    told = {k: v for k, v in model.items() if not isinstance(v, dict)}
    told |= {name: front_end[name] for name in ("hop_length", "num_mels") if name in front_end}
    told = told or {"embedding_size": description["embedding_size"]}
    settings = [f"{name} {value}" for name, value in told.items()]
    lines = [
        f"{origin['format']} {origin['file']}, sha256 {origin['sha256']}",
        f"{description['kind']}: {', '.join(settings)}",
        *(
            f"{counted(n, 'tensor')} converted from {name} to float32"
            for name, n in ported.converted.items()
        ),
        *(f"note: {note}" for note in ported.notes),
        f"{counted(num_arrays, 'array')}, {num_parameters:,} parameters, written to {output_dir}",
    ]
    print(*map(entrance.escaped, lines), sep="\n")


if __name__ == "__main__":
    # Copying arrays needs no accelerator, which may be busy training.
    jax.config.update("jax_platforms", "cpu")
    with entrance.one_line():
        sys.exit(main())

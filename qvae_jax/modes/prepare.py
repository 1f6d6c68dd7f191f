"""`--mode=prepare`: a data set on disk into arrays that training reads."""

import pathlib

import ml_collections

from qvae_jax import configuration
from qvae_jax.data import prepared
from qvae_jax.data.catalogue import cache_folder
from qvae_jax.data.sound_pairs import prepare_pairs
from qvae_jax.modes.requests import PrepareRequest
from qvae_jax.system import platforms


def prepare(config: ml_collections.ConfigDict, request: PrepareRequest) -> None:
    """Prepares what training with this config will read, and says where it lies.

    request.workdir is needed only where the config keeps its data or its cache inside it.
    """
    workdir = None if request.workdir is None else pathlib.Path(request.workdir)
    configuration.check(config)
    platforms.start_backend()
    configuration.resolve_encoder(config, None)
    model_config = configuration.model_config(config)
    if config.training.objective == configuration.CONTRASTIVE:
        _report(config, workdir, prepare_pairs(config, model_config.front_end, workdir))
        return
    needs_encoder = prepared.is_frozen(config) or config.data.cache_trunk
    initial = configuration.initial_variables(config, model_config) if needs_encoder else None
    layers = configuration.trained_layers(config, model_config)
    _report(config, workdir, prepared.prepare(config, model_config, initial, workdir, layers))


def _report(
    config: ml_collections.ConfigDict, workdir: pathlib.Path | None, found: prepared.Prepared
) -> None:
    """Says how many rows there are of each part, and where they lie."""
    parts = ", ".join(f"{len(examples)} {name}" for name, examples in found.parts.items())
    sources = filter(None, (found.catalogue.index, found.catalogue.library))
    folders = [str(cache_folder(config, source.directory, workdir)) for source in sources]
    what = "pairs" if found.catalogue.library is None else "rows"
    print(f"{what}: {parts}; prepared in {' and '.join(folders)}")

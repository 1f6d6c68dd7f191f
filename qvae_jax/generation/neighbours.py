"""The sounds of a library that are nearest to the imitations, beside what a model makes of them."""

import dataclasses
import pathlib
from collections.abc import Sequence

from qvae_jax.audio.files import write_wav
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.generation import manifest, naming
from qvae_jax.generation.inputs import Heard, Source, hear
from qvae_jax.generation.model import Model
from qvae_jax.retrieval import encoders, threshold
from qvae_jax.retrieval.encoders import Encoders
from qvae_jax.retrieval.finding import Found, Library
from qvae_jax.retrieval.index import indexed
from qvae_jax.runs import open_run


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """What a library is asked for.

    Attributes:
        library: what is looked through.
        count: how many sounds are put beside each imitation.
        sounds_like: whether the nearest one gives the sound its timbre.
    """

    library: Library
    count: int
    sounds_like: bool

    def nearest(self, heard: Sequence[Heard], names: Sequence[str]) -> list[list[Found]]:
        """The sounds nearest to each imitation, the nearest first, at least one of each."""
        samples = [one.samples for one in heard]
        return self.library.nearest(samples, names, max(1, self.count))

    def put_beside(
        self, found: Sequence[Found], stem: str, front_end: FrontEnd, folder: pathlib.Path
    ) -> dict:
        """Writes what is heard of them into folder; gives what the manifest says of the imitation.

        stem is what the imitation's files are named after. Raises UserError for a file that cannot
        be read any more.
        """
        facts = {"unlike_everything": self.library.is_unlike(found)}
        if self.sounds_like:
            facts["sounds_like"] = found[0].facts
        beside = []
        for one in found[: self.count]:
            name = naming.nearest_name(stem, one.rank)
            write_wav(folder / name, as_heard(one, front_end).samples, front_end.sample_rate_hz)
            beside.append({**one.facts, "heard": name})
        return facts | ({"nearest": beside, "page": naming.page_name(stem)} if self.count else {})


def as_heard(found: Found, front_end: FrontEnd) -> Heard:
    """What an encoder hears of a sound; UserError where it cannot be read any more."""
    return hear(Source(found.path, str(found.path), found.path.stem), front_end)


def library_of(
    folder: str,
    hearing: Encoders,
    threshold_folders: Sequence[pathlib.Path],
    output_dir: pathlib.Path | None = None,
) -> Library:
    """A folder of sounds, indexed, with the threshold in the first of some folders that has one.

    What is in output_dir, and earlier results of --mode=generate, are not looked into.
    """
    index = indexed(folder, hearing.reference, outside=output_dir, holds_results=manifest.is_in)
    return Library(index, hearing, threshold.first_of(threshold_folders, hearing))


def encoders_of(model: Model) -> tuple[Encoders, list[pathlib.Path]]:
    """What hears imitations and a library for a model; and the folders where a threshold may lie.

    That is its own encoder, or its two, or, of a run, the pair that it still is one of; a line says
    so where the folder that it came from is gone. The model's folder is the first.
    """
    if "workdir" not in model.source:
        folder = pathlib.Path(model.source.get("checkpoint", ""))
        return encoders.of_model(model.config, model.variables), [folder]
    workdir = model.source["workdir"]
    pretrained = open_run(workdir).config.model.encoder_checkpoint
    if pretrained and not (model.config.sound_encoder or pathlib.Path(pretrained).is_dir()):
        print(
            f"note: {pretrained}, where the encoder of {workdir} came from, is gone: if a pair of "
            "encoders lay there, the other one cannot hear the library, and the run's own does"
        )
    found = encoders.of_model(model.config, model.variables, pretrained)
    return found, [pathlib.Path(folder) for folder in (workdir, pretrained) if folder]

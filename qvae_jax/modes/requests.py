"""What each mode may be asked for: the command line's flags are made from these fields.

No JAX here, which takes seconds to import. A mode is a function `mode(request)`, or
`mode(config, request)` where its request takes a config, in the file of its name. A request says
needs_cache_folder where numba or Matplotlib cannot be done without; see system/caches.py.
"""

import dataclasses

from qvae_jax.generation.requests import Finish, LatentRequest, asked
from qvae_jax.generation.steer_request import SteerRequest

WORKDIR = "The folder of a training run."
OTHER_MODEL = (
    "Instead of --workdir: a ported or exported QVAE's folder, or hf://OWNER/NAME[@REVISION] of one on "
    "the Hugging Face Hub."
)


@dataclasses.dataclass(frozen=True)
class DownloadRequest:
    """A data set to fetch and unpack."""

    takes_config = True

    source: str | None = asked("Address or path of the archive; unset: VimSketch's on Zenodo.")


@dataclasses.dataclass(frozen=True)
class DoctorRequest:
    """A data set to examine."""

    takes_config = True

    output_dir: str | None = asked(
        "Where to write report.json, with all names and numbers.", path=True
    )


@dataclasses.dataclass(frozen=True)
class PrepareRequest:
    """A data set to prepare for training."""

    takes_config = True

    workdir: str | None = asked(
        f"{WORKDIR} Only where the config keeps its data inside it.", path=True
    )


@dataclasses.dataclass(frozen=True)
class TrainRequest:
    """A run to begin or to continue."""

    takes_config = True

    workdir: str | None = asked(WORKDIR, required=True, path=True)
    reset_epoch: bool = asked(
        "Begin a new run in the workdir from the last weights of the one it holds: schedules, "
        "epochs and optimiser start again. Give it once; the same command without it continues.",
        False,
    )
    coordinator_address: str | None = asked("On several hosts: HOST:PORT of the first process.")
    num_processes: int | None = asked("On several hosts: the number of processes.")
    process_id: int | None = asked("On several hosts: which of them this one is, from 0.")


@dataclasses.dataclass(frozen=True)
class PretrainRequest(TrainRequest):
    """A run of encoders for search, to begin or to continue."""


@dataclasses.dataclass(frozen=True)
class DiagnoseRequest:
    """A run to look back on."""

    needs_cache_folder = True

    workdir: str | None = asked(WORKDIR, required=True, path=True)


@dataclasses.dataclass(frozen=True)
class GenerateRequest:
    """Sounds to make."""

    workdir: str | None = asked("A training run, whose best checkpoint is used.", path=True)
    checkpoint: str | None = asked(OTHER_MODEL, path=True, on_hub=True)
    inputs: str | None = asked(
        "Audio files, patterns and folders, separated by commas; - is standard input.",
        required=True,
        instead=("from_split", "walk_dimension", "prior_samples"),
    )
    from_split: str | None = asked(
        "Instead of --inputs: a part of the run's split: train, interpolation, extrapolation, library."
    )
    output_dir: str | None = asked(
        "Where to write the sounds and manifest.json.", required=True, path=True
    )
    existing: str | None = asked(
        "Where --output_dir holds earlier sounds: add to them, numbered on, or replace them; unset, "
        "it is refused."
    )
    window: str = asked("Of imitations above 10 s, the first or the loudest 10 s.", "first")
    library: str | None = asked(
        "A folder of sounds, for --nearest and --sounds_like=nearest.", path=True
    )
    nearest: int | None = asked(
        "How many sounds of --library, nearest to each imitation, are put beside its sounds."
    )
    latents: LatentRequest = LatentRequest()
    steering: SteerRequest = SteerRequest()
    finish: Finish = Finish()


@dataclasses.dataclass(frozen=True)
class SearchRequest:
    """Sounds of a folder to find by what was hummed."""

    needs_cache_folder = True

    workdir: str | None = asked(
        "A training run, whose encoder hears, or of a run of encoders their best.", path=True
    )
    checkpoint: str | None = asked(
        "Instead of --workdir: the folder of an encoder, of a pair of them (imitation/ hears the "
        "queries, reference/ the library), or of a ported QVAE; or hf://OWNER/NAME of one on the "
        "Hugging Face Hub.",
        path=True,
        on_hub=True,
    )
    library: str | None = asked(
        "The folder of sounds that is searched, with the folders below it.",
        required=True,
        instead=("pairs", "from_split"),
        path=True,
    )
    inputs: str | None = asked(
        "The queries: audio files, patterns and folders, separated by commas; - is standard input.",
        required=True,
        instead=("pairs", "from_split"),
    )
    top: int = asked("How many sounds are found for each query.", 10)
    window: str = asked("Of queries above 10 s, the first or the loudest 10 s.", "first")
    pairs: str | None = asked(
        "A folder of pairs, by which it is learnt how similar is too little; kept with the encoder.",
        path=True,
    )
    from_split: str | None = asked(
        "Instead of --pairs: a part of the run's split that it has not learnt from."
    )
    output_dir: str | None = asked(
        "Where to write results.json and a page to hear query and results; unset, there is only the "
        "table.",
        path=True,
    )


@dataclasses.dataclass(frozen=True)
class EvaluateRequest:
    """A model to measure."""

    needs_cache_folder = True

    workdir: str | None = asked("A training run, whose best checkpoint is measured.", path=True)
    checkpoint: str | None = asked(OTHER_MODEL, path=True, on_hub=True)
    from_split: str | None = asked(
        "The part of the run's split to measure; by default the held-out ones."
    )
    pairs: str | None = asked(
        "Instead of a split: a folder with references/ and vocal_imitations/.",
        path=True,
    )
    voices: str | None = asked(
        "Instead of a split: a folder of imitations that have no references, to measure how closely "
        "sounds follow them.",
        path=True,
    )
    embedder: str | None = asked(
        "A ported encoder's or judge's folder, for retrieval and distances of sets; by default the "
        "model's own encoder.",
        path=True,
    )
    trimmed: bool = asked(
        "Measure everything once more with references, imitations and outputs trimmed of silence "
        "and at a peak of 0.7.",
        False,
    )
    output_dir: str | None = asked("Where to write; by default WORKDIR/evaluation.", path=True)


@dataclasses.dataclass(frozen=True)
class VisualiseRequest:
    """A run to show."""

    needs_cache_folder = True

    workdir: str | None = asked(
        "A training run, whose best checkpoint is shown.", required=True, path=True
    )
    from_split: str | None = asked(
        "The part of the run's split to show; by default all that it has."
    )
    num_samples: int = asked("Samples of each part of the split, evenly spread over it.", 8)
    output_dir: str | None = asked("Where to write; by default WORKDIR/visualise.", path=True)


@dataclasses.dataclass(frozen=True)
class ServeRequest:
    """A model to hum into, on a page of this machine."""

    workdir: str | None = asked("A training run, whose best checkpoint is used.", path=True)
    checkpoint: str | None = asked(OTHER_MODEL, path=True, on_hub=True)
    library: str | None = asked(
        "A folder of sounds: each take may sound like one of the ten nearest to it.", path=True
    )
    port: int = asked("Of the page's address; 0 is any free one.", 8000)
    host: str = asked(
        "The address to serve at; another one than the default lets other machines in.",
        "127.0.0.1",
    )


@dataclasses.dataclass(frozen=True)
class ExportRequest:
    """A model to take elsewhere."""

    workdir: str | None = asked("A training run, whose best checkpoint is used.", path=True)
    checkpoint: str | None = asked(OTHER_MODEL, path=True, on_hub=True)
    format: str = asked("What to write: stablehlo, onnx, web or hub.", "stablehlo")
    output_dir: str | None = asked("The new folder to write.", required=True, path=True)
    onnxruntime_web: str | None = asked(
        "With --format=web, where npm cannot fetch it: the package file of onnxruntime-web.",
        path=True,
    )
    licence: str | None = asked(
        "Of a folder for the Hub: the licence in its model card, by the Hub's name for it, such as mit "
        "or cc-by-4.0; by default unknown."
    )


# By the mode's name, which is also that of its file and of its function.
REQUESTS = {
    "download": DownloadRequest,
    "doctor": DoctorRequest,
    "prepare": PrepareRequest,
    "train": TrainRequest,
    "pretrain": PretrainRequest,
    "diagnose": DiagnoseRequest,
    "generate": GenerateRequest,
    "search": SearchRequest,
    "evaluate": EvaluateRequest,
    "visualise": VisualiseRequest,
    "serve": ServeRequest,
    "export": ExportRequest,
}

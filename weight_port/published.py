"""The published encoders: names, addresses and digests, and downloading them."""

import dataclasses
import pathlib

from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.models.mobilenet import STRIDES
from qvae_jax.system import caches, files
from qvae_jax.system import fetch as downloads
from weight_port.torch_file import sha256_of

PAUSES_S = (1.0, 4.0)  # before new attempts; short, because someone is waiting
EFFICIENTAT, QBV = "EfficientAT", "QBV"
RELEASES = {
    EFFICIENTAT: "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1",
    QBV: "https://github.com/Jonathan-Greif/QBV/releases/download/v1.0.0",
}
WITHOUT_LICENCE = (QBV,)  # releases whose authors do not state one


@dataclasses.dataclass(frozen=True)
class Published:
    """One file of a release, and what its tensors do not tell.

    Attributes:
        file: its name in the release.
        width: multiplies the channels of mn10.
        mean_average_precision: on AudioSet, by the authors; None for models trained on ImageNet.
        head: "mlp" or "fully_convolutional".
        strides: of layers 2, 4, 7 and 13.
        hop_length: of the log-mel, in samples at 32 kHz.
        num_mels: bands of the log-mel.
        sha256: the file's digest; None where it is not known here.
        release: one of RELEASES.
        num_classes: of its head; None where that is AudioSet's or ImageNet's.
    """

    file: str
    width: float
    mean_average_precision: float | None = None
    head: str = "mlp"
    strides: tuple[int, ...] = STRIDES
    hop_length: int = FrontEnd.hop_length  # samples at 32 kHz
    num_mels: int = FrontEnd.num_mels
    sha256: str | None = None
    release: str = EFFICIENTAT
    num_classes: int | None = None


def _trained_on_audioset(name: str, width: float, precision: int, copy: str = "", **others):
    """The entry of a model whose file name ends in its mAP in thousandths."""
    file = f"{name}_mAP_{precision}{copy}.pt"
    return Published(file, width, mean_average_precision=precision / 1000, **others)


_AS = _trained_on_audioset
PUBLISHED = {
    "mn01_as": _AS("mn01_as", 0.1, 298),
    "mn02_as": _AS("mn02_as", 0.2, 378),
    "mn04_as": _AS(
        "mn04_as",
        0.4,
        432,
        sha256="899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c",
    ),
    "mn05_as": _AS("mn05_as", 0.5, 443),
    "mn10_as": _AS(
        "mn10_as",
        1.0,
        471,
        sha256="0bd7dc2443af498c289a2e739f02ebb515d6aa3fd3ab9db539c86123ae368a4e",
    ),
    "mn20_as": _AS("mn20_as", 2.0, 478),
    "mn30_as": _AS("mn30_as", 3.0, 482),
    "mn40_as": _AS("mn40_as", 4.0, 484),
    # More runs of the largest model, without the start from ImageNet or with longer training.
    "mn40_as(2)": _AS("mn40_as", 4.0, 483),
    "mn40_as(3)": _AS("mn40_as", 4.0, 483, "(2)"),
    "mn40_as_no_im_pre": _AS("mn40_as_no_im_pre", 4.0, 483),
    "mn40_as_no_im_pre(2)": _AS("mn40_as_no_im_pre", 4.0, 483, "(2)"),
    "mn40_as_no_im_pre(3)": _AS("mn40_as_no_im_pre", 4.0, 482),
    "mn40_as_ext": _AS("mn40_as_ext", 4.0, 487),
    "mn40_as_ext(2)": _AS("mn40_as_ext", 4.0, 486),
    "mn40_as_ext(3)": _AS("mn40_as_ext", 4.0, 485),
    # Other hops: 5, 15, 20 and 25 ms.
    "mn10_as_hop_5": _AS("mn10_as_hop_5", 1.0, 475, hop_length=160),
    "mn10_as_hop_15": _AS("mn10_as_hop_15", 1.0, 463, hop_length=480),
    "mn10_as_hop_20": _AS("mn10_as_hop_20", 1.0, 456, hop_length=640),
    "mn10_as_hop_25": _AS("mn10_as_hop_25", 1.0, 447, hop_length=800),
    # Other numbers of mel bands.
    "mn10_as_mels_40": _AS("mn10_as_mels_40", 1.0, 453, num_mels=40),
    "mn10_as_mels_64": _AS("mn10_as_mels_64", 1.0, 461, num_mels=64),
    "mn10_as_mels_256": _AS("mn10_as_mels_256", 1.0, 474, num_mels=256),
    # The convolutional head, also with fewer layers that halve the map.
    "mn10_as_fc": _AS("mn10_as_fc", 1.0, 465, head="fully_convolutional"),
    "mn10_as_fc_s2221": _AS(
        "mn10_as_fc_s2221", 1.0, 466, head="fully_convolutional", strides=(2, 2, 2, 1)
    ),
    "mn10_as_fc_s2211": _AS(
        "mn10_as_fc_s2211", 1.0, 466, head="fully_convolutional", strides=(2, 2, 1, 1)
    ),
    # Trained on ImageNet's pictures alone, to start from; the first one by PyTorch's authors.
    "mn10_im_pytorch": Published("mn10_im_pytorch.pt", 1.0),
    "mn01_im": Published("mn01_im.pt", 0.1),
    "mn02_im": Published("mn02_im.pt", 0.2),
    "mn04_im": Published("mn04_im.pt", 0.4),
    "mn05_im": Published("mn05_im.pt", 0.5),
    "mn10_im": Published("mn10_im.pt", 1.0),
    "mn20_im": Published("mn20_im.pt", 2.0),
    "mn30_im": Published("mn30_im.pt", 3.0),
    "mn40_im": Published("mn40_im.pt", 4.0),
    # Two mn10 each, for imitations and recordings, trained on VimSketch but for the sounds of a fold.
    **{
        f"qbv_fold{fold}": Published(
            f"ct_nt_xent_fold{fold}mn10d10s32_01.pt", 1.0, release=QBV, num_classes=476
        )
        for fold in range(10)
    },
    # One mn10, which tells the 120 sounds of VocalSketch by their imitations.
    "vocalsketch120": Published(
        "VocalSketch120_mn10d10s32_320.pt", 1.0, release=QBV, num_classes=120
    ),
}


def name_of(file: str, sha256: str) -> str | None:
    """The published model in a file, by its digest or its name; None for any other file."""
    by_digest = (name for name, entry in PUBLISHED.items() if entry.sha256 == sha256)
    by_name = (name for name, entry in PUBLISHED.items() if entry.file == file)
    return next(by_digest, None) or next(by_name, None)


def fetch(name: str) -> pathlib.Path:
    """The file of a published checkpoint, downloaded unless the user's cache folder holds it.

    A download that breaks off carries on from there the next time. A file enters the cache whole
    and with the published digest, or not at all. Where no digest is known here, that of the first
    download is printed and kept beside the file, so that a later change is noticed. Where the
    authors state no licence, a line says so before the download. Raises UserError where the file
    cannot be downloaded or has another digest.
    """
    entry = PUBLISHED[name]
    path = caches.user_cache_folder() / entry.file
    digest = entry.sha256 or _stored_digest(path)
    checksum = f"sha256:{digest}" if digest else None
    if entry.release in WITHOUT_LICENCE and not path.exists():
        print(
            f"note: the licence of {name} is not stated by its authors: ask them before you publish"
        )
    url = f"{RELEASES[entry.release]}/{entry.file}"
    downloads.fetch_file(url, path, checksum=checksum, pauses_s=PAUSES_S)
    if digest is None:
        _store_digest(path, name)
    return path


def _digest_path(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{path.name}.sha256")


def _stored_digest(path: pathlib.Path) -> str | None:
    """The digest of the first download; None where there is none, or it is damaged."""
    try:
        digest = _digest_path(path).read_text(encoding="ascii").split()[0]
        return digest if len(bytes.fromhex(digest)) == 32 else None
    except (OSError, ValueError, IndexError):
        return None


def _store_digest(path: pathlib.Path, name: str) -> None:
    """Keeps a file's digest beside it, in the form that `sha256sum --check` reads, and says so."""
    digest = sha256_of(path)
    with files.replacing(_digest_path(path)) as temporary:
        temporary.write_text(f"{digest}  {path.name}\n", encoding="ascii")
    print(f"no digest of {name} is known here: its sha256 is {digest}, kept in {path.name}.sha256")

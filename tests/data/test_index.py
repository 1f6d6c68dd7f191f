"""Where the files of a data set lie: below the folders that its layout names, wherever these are."""

from pathlib import Path

from qvae_jax.data.index import Index, Pair


def test_names_may_have_folders_of_their_own():
    pair = Pair("dog/1.wav", "dog/bark.wav", "bark")
    index = Index(
        directory=Path("set"),
        imitations_dir=Path("set/Queries"),
        references_dir=Path("elsewhere"),
        references={"bark": "dog/bark.wav"},
        imitations=("dog/1.wav",),
        pairs=(pair,),
        unpaired_imitations=(),
        unused_references=(),
    )
    assert index.imitation_path(pair) == Path("set/Queries/dog/1.wav")
    assert index.reference_path(pair) == Path("elsewhere/dog/bark.wav")

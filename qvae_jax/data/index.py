"""What a data set holds: which imitation belongs to which reference, and where their files lie."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """One vocal imitation and the reference sound it imitates, by the names their index gives."""

    imitation: str
    reference: str
    key: str


@dataclass(frozen=True)
class Index:
    """What a data set holds, in the order of its lists. Nothing else knows where its files lie.

    Attributes:
        directory: the data set's folder.
        imitations_dir: the folder that the imitations' names are relative to.
        references_dir: that of the references.
        references: name of each reference, by key.
        imitations: names of all imitations, those without a reference among them.
        pairs: one for each imitation that has a reference.
        unpaired_imitations: names of the imitations without a reference.
        unused_references: names of the references without an imitation.
    """

    directory: Path
    imitations_dir: Path
    references_dir: Path
    references: dict[str, str]
    imitations: tuple[str, ...]
    pairs: tuple[Pair, ...]
    unpaired_imitations: tuple[str, ...]
    unused_references: tuple[str, ...]

    def imitation_path(self, pair: Pair) -> Path:
        """Where a pair's imitation lies."""
        return self.imitations_dir / pair.imitation

    def reference_path(self, pair: Pair) -> Path:
        """Where a pair's reference lies."""
        return self.references_dir / pair.reference

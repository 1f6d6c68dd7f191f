"""What a data set holds: which imitation belongs to which reference, and where their files lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qvae_jax.audio import listing
from qvae_jax.system.errors import counted, first_few


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
        left_out: what else lies in its folders, as listing.notes takes it.
        classes: the class of each sound, by key, where the data set says so itself.
    """

    directory: Path
    imitations_dir: Path
    references_dir: Path
    references: dict[str, str]
    imitations: tuple[str, ...]
    pairs: tuple[Pair, ...]
    unpaired_imitations: tuple[str, ...]
    unused_references: tuple[str, ...]
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    classes: Mapping[str, str] = field(default_factory=dict)

    def imitation_path(self, pair: Pair) -> Path:
        """Where a pair's imitation lies."""
        return self.imitations_dir / pair.imitation

    def reference_path(self, pair: Pair) -> Path:
        """Where a pair's reference lies."""
        return self.references_dir / pair.reference

    def notes(self) -> list[str]:
        """A line to print for each kind of file that is here and in no pair, but for references."""
        lines = listing.notes(self.directory, self.left_out)
        if self.unpaired_imitations:
            lines.append(
                f"left out of {self.directory}: {counted(len(self.unpaired_imitations), 'imitation')} "
                f"without a reference, of {len(self.imitations)} "
                f"({first_few(self.unpaired_imitations)})"
            )
        return lines

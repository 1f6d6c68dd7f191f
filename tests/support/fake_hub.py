"""A stand-in for huggingface_hub, whose repositories are folders of this machine."""

import fnmatch
import pathlib
import shutil
import sys
import types


class RepositoryNotFoundError(Exception):
    """As the Hub's own is called."""


class GatedRepoError(RepositoryNotFoundError):
    """Likewise."""


class RevisionNotFoundError(Exception):
    """Likewise."""


class FakeHub(types.ModuleType):
    """The part of huggingface_hub that is used; put it in sys.modules.

    Attributes:
        repositories: folders by (OWNER/NAME, revision).
        asked: what was asked for, each time.
    """

    def __init__(self, cache: pathlib.Path):
        super().__init__("huggingface_hub")
        self.cache = cache
        self.repositories: dict[tuple[str, str | None], pathlib.Path] = {}
        self.asked: list[tuple[str, str | None]] = []

    def snapshot_download(self, repo_id, *, revision=None, allow_patterns):
        """A copy of the files of a repository whose paths match one of the patterns."""
        self.asked.append((repo_id, revision))
        if repo_id == "owner/gated":
            raise GatedRepoError("403 Client Error.\n\nAccess is restricted.")
        if repo_id == "owner/away":
            raise ConnectionError("the network is down\nat line 2")
        if repo_id not in {name for name, _ in self.repositories}:
            raise RepositoryNotFoundError("404 Client Error.\n\nRepository Not Found.")
        if (repo_id, revision) not in self.repositories:
            raise RevisionNotFoundError("404 Client Error.\n\nInvalid rev id.")
        folder = self.repositories[repo_id, revision]
        snapshot = self.cache / repo_id.replace("/", "--") / str(revision)
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = path.relative_to(folder).as_posix()
            if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, snapshot / name)
        snapshot.mkdir(parents=True, exist_ok=True)
        return str(snapshot)


def installed(monkeypatch, cache: pathlib.Path) -> FakeHub:
    """One in the place of huggingface_hub, for the time of a test."""
    hub = FakeHub(cache)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    return hub

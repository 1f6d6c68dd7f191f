"""Progress on a terminal and elsewhere."""

import sys

import pytest

from qvae_jax.system import progress


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("total", [3, None])
def test_what_is_done_soon_is_told_of_only_on_a_terminal(capsys, monkeypatch, is_terminal, total):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    with progress.progress_bar("reading", total=total, unit="file") as bar:
        for _ in range(3):
            bar.update()
    output, error = capsys.readouterr()
    assert output == ""
    assert ("reading" in error) == is_terminal


@pytest.mark.parametrize(("total", "told"), [(1, "of 1 batch, "), (2, "of 2 batches, ")])
def test_one_is_no_plural(capsys, monkeypatch, total, told):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    monkeypatch.setattr(progress, "LINES_EVERY_S", 1e-9)
    list(progress.progress_bar("measuring", total=total, unit="batch", over=range(total)))
    assert told in capsys.readouterr().out


def test_what_takes_long_is_lines_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    monkeypatch.setattr(progress, "LINES_EVERY_S", 1e-9)
    items = range(3000)
    shown = progress.progress_bar(
        "reading", total=3000, unit="B", initial=0, unit_scale=True, over=items
    )
    assert list(shown) == list(items)
    output, error = capsys.readouterr()
    lines = output.splitlines()
    assert error == "" and lines
    assert all(line.startswith("reading: ") and " of 3.00k B, " in line for line in lines)

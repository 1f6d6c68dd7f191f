"""Charts of losses: whatever the numbers, there is one, and nothing is warned of."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import image, rc_context

from qvae_jax import losses
from qvae_jax.visualisation import charts

pytestmark = pytest.mark.usefixtures("warnings_are_errors")

NUMBERS = st.floats() | st.integers(-(2**53), 2**53)
ENTRY = st.fixed_dictionaries(
    {"step": st.integers(0, 2**53), "part": st.sampled_from(["train", "interpolation", "犬 $x_"])},
    optional={name: NUMBERS for name in ("total", "mel", "kl", "learning_rate", "beta")},
)


@settings(max_examples=3, deadline=None)
@given(entries=st.lists(ENTRY, max_size=4))
def test_any_losses_are_drawn(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("losses") / "losses.png"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        charts.save_losses(path, entries)
    assert image.imread(path).shape[1] >= 1200


def test_a_high_start_does_not_hide_the_rest(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(charts, "save", lambda figure, path: drawn.append(figure))
    training = [{"step": i, "part": "train", "total": 1000.0 if i < 2 else 5.0} for i in range(200)]
    validation = [{"step": 100, "part": "extrapolation", "total": 9.0}]
    charts.save_losses(tmp_path / "losses.png", training + validation)
    bottom, top = drawn[0].axes[0].get_ylim()
    assert bottom < 5 and 9 < top < 20


def test_every_term_of_the_table_has_a_curve(tmp_path, monkeypatch):
    drawn = []
    more = (losses.Term("extra", "extra loss", "whatever it is"), losses.Term("another", "a", "b"))
    monkeypatch.setattr(
        charts, "LOSSES", (*charts.LOSSES, *((t.name, t.title, t.axis) for t in more))
    )
    monkeypatch.setattr(charts, "save", lambda figure, path: drawn.append(figure))
    whole = dict.fromkeys(["total", *losses.TERMS, "extra", "another"], 3.0)
    charts.save_losses(tmp_path / "losses.png", [{"step": 1, "part": "train"} | whole])
    titles = [axis.get_title() for axis in drawn[0].axes]
    of_table = [term.title for term in losses.TABLE]
    assert titles == ["loss", *of_table, "extra loss", "a", "schedules", "", ""]


def test_a_term_that_a_run_has_not_has_no_curve(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(charts, "save", lambda figure, path: drawn.append(figure))
    charts.save_losses(tmp_path / "losses.png", [{"step": 1, "part": "train", "mel": 3.0}])
    assert [axis.get_title() for axis in drawn[0].axes] == ["mel loss", "schedules", ""]


def test_settings_of_matplotlib_change_nothing(tmp_path):
    charts.save_losses(tmp_path / "as it comes.png", [])
    with rc_context({"axes.facecolor": "red", "text.usetex": True, "font.size": 30}):
        charts.save_losses(tmp_path / "set.png", [])
    assert (tmp_path / "set.png").read_bytes() == (tmp_path / "as it comes.png").read_bytes()

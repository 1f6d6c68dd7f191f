"""What the steps' report counts."""

import types

from qvae_jax.training import step_report


def test_the_share_of_waiting_leaves_out_the_first_step(monkeypatch):
    """Steps end at these times, and each has waited so long; a pause comes after the third."""
    monkeypatch.setattr(step_report.tqdm, "__init__", lambda *arguments, **options: None)
    now_s = iter([100.0, 101.0, 103.0, 200.0, 204.0])
    monkeypatch.setattr(step_report.time, "perf_counter", lambda: next(now_s))
    report = step_report.StepReport(types.SimpleNamespace(num_steps=5), None, 0, None)
    assert report.speed() == {}
    for wait_s in (90.0, 0.5, 0.25):
        report.add_wait(wait_s)
    assert report.speed() == {"data_wait": 0.25}
    for wait_s in (50.0, 1.0):
        report.add_wait(wait_s)
    assert report.speed() == {"data_wait": 0.25}

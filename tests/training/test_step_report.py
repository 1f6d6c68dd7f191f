"""What the steps' report counts."""

import types

import jax
import numpy as np

from qvae_jax import losses
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


def test_metrics_are_fetched_a_step_late(monkeypatch):
    fetched, written = [], []
    monkeypatch.setattr(step_report.tqdm, "__init__", lambda *arguments, **options: None)
    for name in ("set_postfix", "update"):
        monkeypatch.setattr(step_report.tqdm, name, lambda *arguments, **options: None)
    monkeypatch.setattr(jax, "device_get", lambda metrics: fetched.append(metrics) or metrics)
    config = types.SimpleNamespace(logging=types.SimpleNamespace(every_steps=1))
    loss = types.SimpleNamespace(terms=(*losses.ORIGINAL, "kl"))
    setup = types.SimpleNamespace(num_steps=3, steps_per_epoch=2, config=config, loss=loss)
    log = types.SimpleNamespace(write=lambda step, *values, epoch: written.append((step, epoch)))
    report = step_report.StepReport(setup, log, 0, None)
    names = (*losses.ORIGINAL, "kl", "total", "gradient_norm")
    of_step = [dict.fromkeys(names, np.float32(step)) for step in range(4)]
    for step in (1, 2, 3):
        report.after_step(step, of_step[step])
        assert fetched == of_step[1:step]
    report.flush()
    report.flush()
    assert fetched == of_step[1:] and written == [(1, 1), (2, 1), (3, 2)]

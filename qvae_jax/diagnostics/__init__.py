"""What shows how a training goes: arrays, pictures and verdicts."""

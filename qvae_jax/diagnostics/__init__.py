"""What is looked at of a training: arrays, pictures and verdicts."""

"""The training loop's parts: state and step, schedules, devices, checkpoints, metric writers."""

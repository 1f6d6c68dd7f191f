"""PyTorch checkpoints to Orbax. The only part of the project that imports torch."""

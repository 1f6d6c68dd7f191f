"""PyTorch checkpoints to Orbax and back. Only here does the project import torch."""

"""Waveforms in and out, and the log-mel front-end."""

"""Showing a model: its page, which holds everything that it shows."""

"""Paired vocal imitations and target sounds: where they come from, and how they are batched."""

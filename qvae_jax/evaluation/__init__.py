"""Measuring a model: embeddings, baselines, intervals and the report."""

"""Measuring a model: what it is compared with, measures, embeddings, intervals and the report."""

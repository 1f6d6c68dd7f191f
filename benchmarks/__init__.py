"""Measurements beside a peer in the same process: ratios, not times."""

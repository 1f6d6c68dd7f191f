"""Whole training runs of a tiny model."""
def test_it(frozen_run):
    import os
    print(os.listdir(frozen_run))

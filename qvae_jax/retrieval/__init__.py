"""The sounds of a library, found by what was hummed: their index, and the search in it."""

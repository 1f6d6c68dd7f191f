"""The page to hum into: its files, and what it has to know of a model; served live, or exported."""

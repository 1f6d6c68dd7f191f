"""What the rooms need of the machine: files, locks, fetching, archives, progress, memory."""

"""A model to take elsewhere: one graph for other runtimes, a page without a server, a folder to share."""

"""The platform on a laptop: real programs as child processes, from packages alone."""

"""How jobs are started: one description, run as a pod in a cluster or as a child process on a laptop."""

"""What stays true when processes are killed. A few rounds in ``make test``, all of them in ``make test-faults``."""

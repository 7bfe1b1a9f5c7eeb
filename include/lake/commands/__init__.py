"""The verbs of ``python -m include.lake``, one module for each noun."""

"""Clones and schemas as jobs, and the sweep that drops the clones of closed and forgotten pull requests."""

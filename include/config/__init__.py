"""Typed configuration: the only reader of YAML files and of environment variables."""

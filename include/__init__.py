"""The platform's own code, importable as ``include.*`` from the repository root."""

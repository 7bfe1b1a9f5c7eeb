"""GitHub's REST API as far as pull requests go, for a laptop and for tests."""

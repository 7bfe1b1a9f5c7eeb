"""Jobs that keep the lake small, fast and correct."""

"""Jobs on raw tables."""

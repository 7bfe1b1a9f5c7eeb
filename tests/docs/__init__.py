"""What the documentation tells people to do."""

"""Source databases with invented learners: schemas, a seeded generator, and totals to check reports against."""

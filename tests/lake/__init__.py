"""Exactly-once writes, storage and catalogs, against a real PostgreSQL, a real Trino and moto's Glue."""

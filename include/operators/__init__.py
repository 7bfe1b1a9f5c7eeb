"""Operators of the platform's own: a resumable Airbyte sync, and the tasks that stand for dbt models."""

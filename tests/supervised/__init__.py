"""Airflow's own parts without its servers: a migrated database, a DAG processor when asked for, and tasks as workers run them.

The programs of this folder are started by their path, from another folder: in an Airflow image the repository is not on the path, and
what tasks import must come from their bundle alone.
"""

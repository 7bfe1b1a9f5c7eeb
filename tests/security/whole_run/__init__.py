"""A whole run in which everything is told that must not be told.

``code`` is laid over a copy of the repository: DAG files, a job and a trigger that give away every secret they get, by every way there is.
``platform`` starts a real Airflow over it, ``evidence`` collects what can be read afterwards. ``tests/security/test_canaries.py`` judges it.
"""

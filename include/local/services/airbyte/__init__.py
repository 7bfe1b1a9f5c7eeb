"""A local Airbyte: its public API over HTTP, and a worker that really moves rows from PostgreSQL into Iceberg tables.

============== =====================================================================================
``api``        the HTTP handlers of ``/api/public/v1``
``problems``   error bodies, as Airbyte writes them
``faults``     misbehaviour on request (``/_faults``), what is its own of it
``connections``the units of ``include/units/airbyte`` as Airbyte connections
``store``      jobs, stream states and generation ids in PostgreSQL
``worker``     runs jobs: slots, attempts, cancellation, resumption
``sync``       one stream of one job, from reading to the saved cursor
``source``     PostgreSQL tables as Arrow record batches
``destination``Iceberg commits: append, replace, merge; staging branch and main
============== =====================================================================================

Run with ``python -m include.local.services.airbyte --help``.
"""

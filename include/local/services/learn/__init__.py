"""A local MIT Learn, as far as it receives webhooks: its HTTP endpoints, its signatures, and a memory that survives kills.

============ =====================================================================================
``api``      the HTTP handlers of ``/api/v1/webhooks`` and of the service's own administration
``verify``   signatures, timestamps and keys: as MIT Learn does today, and as it should
``payloads`` what a request's body may say
``faults``   misbehaviour on request
``store``    keys, mode and clock; what was applied and what was received, in SQLite
============ =====================================================================================

Run with ``python -m include.local.services.learn --help``.
"""

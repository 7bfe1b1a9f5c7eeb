"""Telling MIT Learn of new content: every event is written down before it is sent, and is applied exactly once.

================= =======================================================================================
``events``        what is told: endpoint, lane (the course, whose events keep their order), exact body
``outbox``        the PostgreSQL tables: enqueuing, dead letters, replays, figures
``lanes``         claims of senders: one lane at a time, the attempt written down before it is made
``signing``       the headers that bind body, moment, key, idempotency key and path together
``addresses``     which addresses may be connected to
``client``        one attempt: sign, send, judge the answer, follow the receiver's clock and keys
``retries``       which failures are transient, how long to wait, when to give up
``sender``        one run: many lanes at once, until nothing is due, the limit or the time is reached
``mirror``        the outbox as the Iceberg table that analysts read
================= =======================================================================================

Jobs: ``webhook-enqueue``, ``webhook-deliver``, ``webhook-dead-letters``, ``webhook-replay``, ``webhook-mirror``.
"""

"""A local Open edX: the APIs of LMS and Studio that the platform reads, for all deployments in one process.

============== =======================================================================================
``app``        the deployments at ``/<deployment>/lms`` and ``/<deployment>/studio``, tokens included
``lms``        ``/api/user/v1/me``, ``/api/courses/v1``, ``/api/learning_sequences/v1``, ``/api/course-structure/v0``
``studio``     ``/api/courses/v0/export``, and the bucket that exports are put into
``exports``    export tasks: their states over time, and the archives of those that succeeded
``store``      a deployment's course runs: those of the seeded generator, and what tests do to them
``content``    what is inside a course run: its blocks, its outline, its archive
``faults``     misbehaviour on request (``/_faults``), what is its own of it
``problems``   error bodies, as Open edX writes them
============== =======================================================================================

Run with ``python -m include.local.services.openedx --help``.
"""

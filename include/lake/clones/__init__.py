"""Shallow clones: a pull request's own tables, which begin as production's (or QA's) without a copied byte, and a developer's own schemas.

=============== ================================================================================
``names``       what belongs to a pull request or developer, by name
``documents``   one table's metadata as a clone's
``create``      pin the base's snapshot, write the clone's metadata, register it
``drop``        what would be removed, whether it may be, and the removal
``registry``    which clones there are, read from the catalog and its tables
``selection``   which models a pull request changes: ``dbt ls``
=============== ================================================================================

A base's snapshot that a clone reads carries the tag ``clone_pr_<number>``, which keeps it from expiry; the tag is set before the clone is
registered and taken away after the clone is gone. The order of all steps is such that the same command, run again after a kill at any point, finishes.
"""

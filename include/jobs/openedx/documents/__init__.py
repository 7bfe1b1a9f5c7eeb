"""The LMS's documents of one course run, its detail and its structure, as landing objects and rows.

============== =====================================================================================
``tables``     ``raw__<deployment>__openedx__api__{course_structure,course_blocks}``
``job``        ``course-structure``
============== =====================================================================================

What rows a structure has is said in :mod:`include.jobs.openedx.courses.structure`.
"""

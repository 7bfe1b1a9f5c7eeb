"""The export of one course run: begun at Studio, waited for, and fetched into the landing zone.

============== =====================================================================================
``record``     what is known of a run's newest export, kept where a killed job finds it again
``steps``      begin, look once, fetch: each can be done by another process, and each can be repeated
``download``   an archive from its address to a file, with its length and hash
``job``        ``course-export``: one of the steps, or all of them
============== =====================================================================================
"""

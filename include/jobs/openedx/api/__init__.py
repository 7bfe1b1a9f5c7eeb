"""The HTTP APIs of one Open edX deployment, LMS and Studio, as jobs use them.

============== =====================================================================================
``keys``       course ids: which may become paths, keys and partitions
``retries``    how often and how long a request is tried, what a status means, where the budget ends
``tokens``     OAuth2 client credentials, one token for all requests that are under way
``client``     one request with all of that: JSON documents and downloads
``lms``        course list, outlines with their published versions, detail, structure
``studio``     the export of a course: begin, look, and where the archive lies
============== =====================================================================================

Built on aiohttp: with sixteen requests under way, httpx spends 1.2 ms of CPU on a request and aiohttp 0.2 ms, which decides whether a sweep of 3,500
courses waits for the network or for Python.
"""

"""The forum's MongoDB: dumps in mongodump's layout become JSON lines, typed Parquet and rows of the lake.

=============== =====================================================================================
``dump``        the job ``forum-dump``: a live server read in raw batches into mongodump's layout
``load``        the job ``forum-load``: such a dump into landing objects and raw tables
``layout``      which objects of a prefix are which collection; the dump's own record of itself
``frames``      a collection's bytes, cut into chunks of whole documents; what is cut is refused here
``walk``        all elements of a chunk's documents, found together by array arithmetic
``elements``    one document taken apart step by step: the exact reasons, and every type's text
``texts``       the lines: canonical extended JSON
``columns``     the values: for each path and kind one Arrow column
``kinds``       the kinds of values that columns hold
``schema``      which kind of a path gets the column, and what goes into ``document_rest``
``names``       names of columns and tables
``chunks``      all of this for one chunk
``convert``     all of this for one collection, on several threads
``landing``     objects that are named after their content; the quarantine
``tables``      rows into the raw table, one for each document
=============== =====================================================================================
"""

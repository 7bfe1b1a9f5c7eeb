"""Open edX's tracking logs: one day's files become normalised NDJSON in the landing zone and one partition of a raw table.

======================== ==============================================================================================
:mod:`~.job`             the job ``tracking-logs``: its flags, its order of work, its result
:mod:`~.day`             one day from its log files to its partition
:mod:`~.lookback`        days before it whose log files have changed since
:mod:`~.history`         which log files a partition was made of
:mod:`~.sources`         which objects belong to a day, and whether they have stopped growing
:mod:`~.reading`         an object's bytes, inflated, in blocks of whole lines; bad gzip, over-long lines and bombs end here
:mod:`~.blocks`          all events of a block at once; what is unusual goes, line by line, to
:mod:`~.events`          one event, whatever its shape, or the reason why it is none
:mod:`~.times`           times of any shape as UTC microseconds
:mod:`~.landing`         content-addressed objects: NDJSON, quarantine, manifest
:mod:`~.table`           the raw table
:mod:`~.workers`         processes and threads that do this for several files at once
======================== ==============================================================================================
"""

"""Whether this pod's component has given a sign of life: ``python alive.py SchedulerJob`` exits with 1 when it has not.

The same question as ``airflow jobs check --job-type SchedulerJob --local``, asked of the database directly: that command imports all of Airflow,
four seconds of processor time a look. When the database does not answer, nothing is known, and a restart would not mend it: exit 0.
"""

from __future__ import annotations

import os
import socket
import sys

import psycopg2

THRESHOLD = 30  # seconds; as Airflow's health_check_threshold of each component
QUERY = """
SELECT extract(epoch FROM now() - max(latest_heartbeat)) FROM job
WHERE job_type = %s AND state = 'running' AND hostname = %s
"""


def main(job_type: str) -> int:
    """The exit code; what was found goes to stdout, which is what the kubelet shows."""
    address = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("postgresql+psycopg2://", "postgresql://")
    try:
        connection = psycopg2.connect(address, connect_timeout=10)
        with connection, connection.cursor() as cursor:
            cursor.execute(QUERY, (job_type, socket.gethostbyname(socket.gethostname())))  # core.hostname_callable: the pod's address
            (seconds,) = cursor.fetchone()
    except psycopg2.OperationalError as error:
        print(f"the database does not answer: {error}")
        return 0
    if seconds is None or seconds > THRESHOLD:
        print(f"{job_type}: {'no sign of life yet' if seconds is None else f'last sign of life {seconds:.0f} s ago, more than {THRESHOLD}'}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

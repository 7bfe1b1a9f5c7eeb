"""Peer of P1: one Airflow DAG per connection, found by asking Airbyte's API while the file is parsed; operators as the providers ship them.

``LOOK_EACH_UP`` asks for every connection by its id after the list, as orchestrators do that discover connections at import time.
"""

import os
from datetime import datetime

from airbyte_api.api import GetConnectionRequest, ListConnectionsRequest
from airflow.providers.airbyte.hooks.airbyte import AirbyteHook
from airflow.providers.airbyte.operators.airbyte import AirbyteTriggerSyncOperator
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Asset

LAKE = "trino://trino.local:8080/ol_data_lake_local/ol_warehouse_local_raw"
LOOK_EACH_UP = os.environ.get("PEER_LOOK_EACH_UP") == "yes"
PAGE = 100  # the most that the API gives at once
CADENCE = {"every_6_hours": "0 */6 * * *", "every_12_hours": "0 */12 * * *", "daily": "0 0 * * *"}


def connections():
    api = AirbyteHook("airbyte").airbyte_api
    offset = 0
    while True:
        page = api.connections.list_connections(request=ListConnectionsRequest(limit=PAGE, offset=offset)).connections_response.data
        for connection in page:
            if LOOK_EACH_UP:
                yield api.connections.get_connection(request=GetConnectionRequest(connection_id=connection.connection_id)).connection_response
            else:
                yield connection
        if len(page) < PAGE:
            return
        offset += PAGE


for connection in connections():
    unit = connection.name.partition(" ")[0]
    with DAG(
        f"airbyte__{unit}",
        schedule=CADENCE[connection.tags[0].name],
        start_date=datetime(2026, 1, 1),
        catchup=False,
        max_active_runs=1,
        default_args={"owner": "data-platform", "retries": 3},
        tags=["airbyte"],
    ) as dag:
        sync = AirbyteTriggerSyncOperator(task_id="sync", connection_id=connection.connection_id, deferrable=True)
        outlets = [Asset(f"{LAKE}/{connection.prefix}{stream.name}") for stream in connection.configurations.streams]
        sync >> BashOperator(task_id="stage", bash_command=f"dbt build --select stg__{unit}__*", outlets=outlets)
    globals()[dag.dag_id] = dag

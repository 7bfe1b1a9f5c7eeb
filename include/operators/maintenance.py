"""The light tasks around a maintenance: where the last one's state is, and that the next one goes on from this one's.

What is known of a thousand tables is an object beside the lake; Airflow's asset state store keeps its address.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, BaseOperator

from include.contract import JobResult

STATE = "maintenance_state"


class LastNight(BaseOperator):
    """Returns the address of what the last maintenance knew; empty before the first one.

    :param asset: stands for the group; the address is its state.
    """

    def __init__(self, *, asset: Asset, **kwargs: Any) -> None:
        super().__init__(**kwargs, inlets=[asset])
        self.asset = asset

    def execute(self, context: Any) -> str:
        """The address."""
        return str(context["asset_state_store"][self.asset].get(STATE, ""))


class RememberNight(BaseOperator):
    """Stores the address of what this maintenance knows, and says in its log what was done."""

    def __init__(self, *, asset: Asset, maintain_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs, inlets=[asset])
        self.asset = asset
        self.maintain_task_id = maintain_task_id

    def execute(self, context: Any) -> str:
        """The address."""
        result = JobResult.from_json(context["ti"].xcom_pull(task_ids=self.maintain_task_id))
        self.log.info("%s", result.facts["totals"])
        state = str(result.facts["state"])
        context["asset_state_store"][self.asset].set(STATE, state)
        return state

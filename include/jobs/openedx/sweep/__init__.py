"""Which course runs of a deployment have changed: one sweep over all of them, from what earlier sweeps know to what the next one needs.

============== =====================================================================================
``state``      what is known of every run, as an object that is written once for each run key
``observe``    the requests: outlines of many runs at once, until they are done or the budget is
``settle``     pure: from state, course list and attempts to the new state and the changed runs
``table``      the observations as rows of ``raw__<deployment>__openedx__sweep__observations``
``job``        ``openedx-sweep``
============== =====================================================================================

The state is an object, and Airflow keeps its address: with 3,500 runs it is about 400 kB, more than the asset state store holds in one value.
"""

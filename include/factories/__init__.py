"""One module per kind of DAG: ``build_<kind>_dag(unit, environment) -> DAG``."""

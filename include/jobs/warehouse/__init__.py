"""Jobs that build the dbt project."""

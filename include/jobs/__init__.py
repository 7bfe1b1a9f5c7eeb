"""Programs that do the data work, without Airflow: ``python -m include.jobs <job> --flags``."""

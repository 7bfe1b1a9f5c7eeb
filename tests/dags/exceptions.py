"""Raw tables that stand on one side only: a dbt source without a unit that brings it, or a stream that no dbt source reads. Each with its reason."""

SOURCES_WITHOUT_STREAM: dict[str, str] = {}
STREAMS_WITHOUT_SOURCE: dict[str, str] = {}

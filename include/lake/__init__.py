"""One name for every table, one place that opens catalogs, writes that carry their run key."""

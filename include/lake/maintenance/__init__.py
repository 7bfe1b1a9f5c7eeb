"""Care of tables: snapshots past their retention are expired, what nobody can reach goes to quarantine, Trino rewrites what is too small."""

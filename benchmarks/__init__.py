"""Workloads that measure the platform: ours, the peer and the physical limit in one run."""

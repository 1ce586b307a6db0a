"""The margin engine's bench: workload, peers, measures."""

"""The ledger against its goals: commands a second and latencies, beside a bare chain and beside Kafka transactions."""

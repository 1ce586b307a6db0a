"""Kafka and gRPC behind the ports."""

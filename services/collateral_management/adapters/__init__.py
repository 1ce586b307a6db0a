"""Kafka and gRPC."""

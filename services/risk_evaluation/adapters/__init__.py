"""Faust, Kafka, gRPC and metrics for the risk application."""

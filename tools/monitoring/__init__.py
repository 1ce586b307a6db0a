"""Dashboards, and the monitoring operator's objects, generated from the same rules that Prometheus reads."""

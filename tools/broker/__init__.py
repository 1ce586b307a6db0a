"""A private Apache Kafka for the demo and the tests: fetched by Maven, run on free ports, gone with its parent."""

from tools.broker.choose import kafka_for
from tools.broker.errors import BrokerFault, ToolMissing
from tools.broker.process import Broker, running_broker

__all__ = ["Broker", "BrokerFault", "ToolMissing", "kafka_for", "running_broker"]

"""Faults of the private broker: BrokerFault > ToolMissing. A program prints the message and exits with 2."""


class BrokerFault(RuntimeError):
    """The broker did not start, or its directory is in use."""


class ToolMissing(BrokerFault):
    """A tool that the user must install is absent or too old; the message says how."""

"""The frame of every service process: settings, logs, health, signals, supervision and exit codes."""

from libs.common.service.health import Condition, Health, serve_http
from libs.common.service.logs import JsonFormatter, configure_logs
from libs.common.service.process import EXIT_CONFIGURATION, EXIT_FAULT, EXIT_STOPPED, Build, ServiceContext, main
from libs.common.service.settings import PREFIX, Port, ServiceSettings, Target, read_settings

__all__ = [
    "EXIT_CONFIGURATION",
    "EXIT_FAULT",
    "EXIT_STOPPED",
    "PREFIX",
    "Build",
    "Condition",
    "Health",
    "JsonFormatter",
    "Port",
    "ServiceContext",
    "ServiceSettings",
    "Target",
    "configure_logs",
    "main",
    "read_settings",
    "serve_http",
]

"""The real processes of all services end with status 2, one line and no listening port when a setting is unknown."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from tools.demo.processes import SERVICES, free_ports

SECONDS_MAX = 60


def test_every_process_refuses_an_unknown_setting_before_it_listens(repository: Path) -> None:
    ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
    inherited = {key: value for key, value in os.environ.items() if not key.upper().startswith("BALLAST_")}
    children = {
        service: subprocess.Popen(
            [sys.executable, "-m", f"services.{service}"],
            cwd=repository,
            env={
                **inherited,
                "PYTHONPATH": os.pathsep.join([str(repository), str(repository / "build" / "gen")]),
                "BALLAST_KAFKA_BOOTSTRAP": "127.0.0.1:1",
                "BALLAST_RISK_TARGET": "127.0.0.1:1",
                "BALLAST_HTTP_PORT": str(port),
                "BALLAST_HTTP_PROT": "8080",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for service, port in ports.items()
    }
    try:
        for service, child in children.items():
            said, complained = child.communicate(timeout=SECONDS_MAX)
            assert child.returncode == 2, complained
            assert complained.startswith(f"{service}: configuration: BALLAST_HTTP_PROT=8080: expected one of BALLAST_")
            assert "BALLAST_HTTP_PORT" in complained
            assert (said, complained.count("\n")) == ("", 1)
            with socket.socket() as caller:
                assert caller.connect_ex(("127.0.0.1", ports[service])) != 0
    finally:
        for child in children.values():
            child.kill()
            child.wait()

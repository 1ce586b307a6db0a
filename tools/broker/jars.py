"""Kafka's own jars: fetched once by Maven as pom.xml declares them, kept in the ignored build/kafka."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tools.broker.errors import BrokerFault, ToolMissing
from tools.lifeline import lifeline

REPOSITORY = Path(__file__).resolve().parents[2]
_JARS = REPOSITORY / "build" / "kafka"
_JAVA_MIN = 17
_INSTALL = "Debian/Ubuntu: apt-get install openjdk-17-jre-headless maven; macOS: brew install openjdk@17 maven"
_MAVEN_SECONDS_MAX = 600


def java() -> str:
    """Path of a Java 17 or newer, from JAVA_HOME when set.

    Raises: ToolMissing.
    """
    home = os.environ.get("JAVA_HOME")
    command = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if command is None or shutil.which(command) is None:
        raise ToolMissing(f"Java {_JAVA_MIN} or newer is needed for Kafka and was not found ({_INSTALL})")
    answer = subprocess.run([command, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(\d+)', answer.stderr)
    if answer.returncode != 0 or version is None or int(version[1]) < _JAVA_MIN:
        found = version[0] if version else "no usable Java"
        raise ToolMissing(f"Java {_JAVA_MIN} or newer is needed for Kafka, {command} is {found} ({_INSTALL})")
    return command


def classpath() -> str:
    """Java class path of Kafka's jars, fetched by Maven when pom.xml changed or they are absent.

    Raises: ToolMissing without Maven, BrokerFault when Maven fails.
    """
    pom = REPOSITORY / "pom.xml"
    wanted = hashlib.sha256(pom.read_bytes()).hexdigest()
    _JARS.parent.mkdir(parents=True, exist_ok=True)
    # One at a time; the kernel drops this lock with the process.
    with pom.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = _JARS / "pom.sha256"
        if not stamp.is_file() or stamp.read_text() != wanted:
            _fetch(pom)
            stamp.write_text(wanted)
    return str(_JARS / "*")


def _fetch(pom: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ToolMissing(f"Maven (mvn) is needed to fetch Kafka and was not found ({_INSTALL})")
    print("kafka: fetching Apache Kafka's jars with Maven (once)", file=sys.stderr, flush=True)
    shutil.rmtree(_JARS, ignore_errors=True)
    command = [maven, "-q", "-B", "-Dstyle.color=never", "-f", str(pom), "dependency:copy-dependencies"]
    answer = subprocess.run(
        lifeline(*command),
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_MAVEN_SECONDS_MAX,
    )
    if answer.returncode != 0:
        lines = [line for line in (answer.stdout + answer.stderr).splitlines() if "ERROR" in line]
        raise BrokerFault(f"Maven could not fetch Kafka: {lines[0] if lines else 'no reason given'}")

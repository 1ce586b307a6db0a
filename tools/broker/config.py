"""Server properties, JVM options and log settings of the single-node broker, private or in a container."""

from pathlib import Path, PurePath

RECORD_BYTES_MAX = 8 * 1024 * 1024
# A request or a log batch wraps its record in headers; the record itself may fill the whole limit.
_BATCH_BYTES_MAX = RECORD_BYTES_MAX + 64 * 1024
_MIB = 1024 * 1024
LOOPBACK = "127.0.0.1"
SERVER_JVM = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:MaxDirectMemorySize=256m",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:+ExitOnOutOfMemoryError",
)


def server_properties(
    *, broker_port: int, controller_port: int, data: PurePath, listen: str = LOOPBACK, advertised: str = LOOPBACK
) -> str:
    """Text of server.properties: one node that is broker and controller.

    Args:
        data: directory of its records, on the node.
        listen: address the broker binds; the controller is always on 127.0.0.1.
        advertised: address at which clients reach the broker.
    """
    properties: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{listen}:{broker_port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{advertised}:{broker_port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": data,
        # Topics come from libs/common/topics.py only.
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        "default.replication.factor": 1,
        "min.insync.replicas": 1,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "message.max.bytes": _BATCH_BYTES_MAX,
        "replica.fetch.max.bytes": _BATCH_BYTES_MAX,
        "queued.max.request.bytes": 128 * _MIB,
        # Replayed marks are of 2017: retention by a producer's time would delete them at once.
        "log.message.timestamp.type": "LogAppendTime",
        # A deleted topic leaves the disk at once; tests delete all of them.
        "log.segment.delete.delay.ms": 1000,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 6000,
        # Sized for 512 MB of heap and two cores.
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 2,
        "log.cleaner.dedupe.buffer.size": 16 * _MIB,
        # A lone node has nobody to hand its leaderships to.
        "controlled.shutdown.enable": "false",
    }
    return "".join(f"{name}={value}\n" for name, value in properties.items())


def log4j_properties(logs: Path) -> str:
    """Text of the log4j settings: one bounded file, nothing on the terminal."""
    properties: dict[str, object] = {
        "status": "off",
        "appender.file.type": "RollingFile",
        "appender.file.name": "file",
        "appender.file.fileName": logs / "kafka.log",
        "appender.file.filePattern": logs / "kafka.%i.log",
        "appender.file.layout.type": "PatternLayout",
        "appender.file.layout.pattern": "%d{ISO8601} %p %c{1}: %m%n",
        "appender.file.policies.type": "SizeBasedTriggeringPolicy",
        "appender.file.policies.size": "16MB",
        "appender.file.strategy.type": "DefaultRolloverStrategy",
        "appender.file.strategy.max": 2,
        "rootLogger.level": "warn",
        "rootLogger.appenderRef.file.ref": "file",
    }
    return "".join(f"{name}={value}\n" for name, value in properties.items())

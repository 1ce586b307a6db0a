"""One short real run for whoever looks at it: all services, two venues, a crash; scraped by a real Prometheus."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from libs.common.config import load_parameters
from tools.demo import population
from tools.demo.driver import Driver, spread
from tools.demo.gate import Gate
from tools.demo.observe import Observatory
from tools.demo.processes import SERVICES, Fleet, free_ports
from tools.demo.spans import Span
from tools.lifeline import lifeline

REPOSITORY = Path(__file__).resolve().parents[2]
# The deepest hours of the first crash: accounts are opened, built up, called and liquidated within them.
SPAN = Span("2017-12-22T08:00/2017-12-22T16:00", "2017-12-22T08:00/2017-12-22T16:00")
ACCOUNTS = 60
SEED = 7
RUN_SECONDS_MAX = 75.0
STEP_SECONDS = 600  # of run time between marks while nothing happens
SCRAPE_SECONDS = 1
MONITORING = REPOSITORY / "deploy" / "k8s" / "monitoring"


@dataclass(slots=True)
class ShortRun:
    """What is left of a run.

    Args:
        metrics: text of /metrics at its end, by service.
        prometheus: that has scraped it, None where there is none.
        ended_s: wall time of the last scrape.
        log_lines: of all services.
        episodes: that were seen open.
    """

    metrics: dict[str, str] = field(default_factory=dict)
    prometheus: Prometheus | None = None
    ended_s: float = 0.0
    log_lines: list[dict[str, Any]] = field(default_factory=list)
    episodes: int = 0


class Prometheus:
    """A real Prometheus on a free port, with the rules that are deployed."""

    def __init__(self, directory: Path, targets: dict[str, str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._port = free_ports(1)[0]
        config = directory / "prometheus.yml"
        scrapes = "".join(
            f"  - job_name: {name}\n    static_configs: [{{targets: ['{target}']}}]\n"
            for name, target in targets.items()
        )
        rules = sorted(str(path) for path in (MONITORING / "rules").glob("*.yaml"))
        config.write_text(
            f"global: {{scrape_interval: {SCRAPE_SECONDS}s, evaluation_interval: {SCRAPE_SECONDS}s}}\n"
            f"rule_files: {json.dumps(rules)}\nscrape_configs:\n{scrapes}"
        )
        log = (directory / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            lifeline(
                "prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}", "--log.level=warn",
            ),
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        log.close()

    def query(self, expression: str, *, at_s: float) -> list[dict[str, Any]]:
        """What the expression gives at that moment. Raises ValueError when Prometheus refuses it."""
        asked = urllib.parse.urlencode({"query": expression, "time": f"{at_s:.3f}"})
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/query?{asked}", timeout=10) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as refused:
            raise ValueError(f"{expression}: {refused.read().decode()}") from refused
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its health."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/rules", timeout=10) as answer:
            groups = json.load(answer)["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def stop(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait(timeout=10)


async def short_run(bootstrap: str, directory: Path, *, extra: dict[str, str] | None = None) -> ShortRun:
    """Runs everything to the replay's end, looks, and puts the services away; Prometheus stays for questions."""
    parameters = load_parameters(REPOSITORY / "config").parameters
    gate, run = Gate(), ShortRun()
    replay = {"BALLAST_REPLAY_WINDOWS": SPAN.windows, "BALLAST_CALM_STEP_SECONDS": str(STEP_SECONDS)}
    settings = {name: {**(extra or {}), **(replay if name == "price_ingestion" else {})} for name in SERVICES}
    fleet = Fleet(bootstrap=bootstrap, directory=directory / "logs", gate_url=gate.url, extra=settings)
    observatory = Observatory(
        bootstrap=bootstrap, parameters=parameters, windows=SPAN.windows,
        service_urls={name: ports.url for name, ports in fleet.ports.items()},
        replay_target=fleet.ports["price_ingestion"].target,
    )  # fmt: skip
    driver = Driver(
        parameters=parameters, target=fleet.ports["venue_gateway"].target, market=observatory,
        schedule_ns=spread(SPAN.bounds_ns()),
    )  # fmt: skip
    if shutil.which("prometheus"):
        targets = {name: f"127.0.0.1:{fleet.ports[name].http}" for name in SERVICES}
        run.prometheus = Prometheus(directory / "prometheus", targets)
    try:
        fleet.start()
        await observatory.start()
        await fleet.wait_ready()
        await _open(driver, SPAN.ends_at_s(parameters))
        observatory.on_margin_call = driver.on_margin_call
        gate.open()
        await _play(run, fleet, observatory, driver)
        await _look(run, fleet)
    except BaseException:
        if run.prometheus is not None:
            run.prometheus.stop()
        raise
    finally:
        await driver.stop()
        await observatory.stop()
        await asyncio.to_thread(fleet.stop)
        gate.stop()
    run.log_lines = [line for name in SERVICES for line in _lines(directory / "logs" / f"{name}.log")]
    return run


async def _open(driver: Driver, ends_at_s: dict[str, int]) -> None:
    await driver.open_house(population.house_capital(ACCOUNTS))
    await driver.open_lenders(population.lenders(ACCOUNTS))
    clients = population.clients(ACCOUNTS, seed=SEED, seconds=SPAN.seconds(), ends_at_s=ends_at_s)
    await driver.open_clients(clients, on_open=lambda count: None)


async def _play(run: ShortRun, fleet: Fleet, observatory: Observatory, driver: Driver) -> None:
    seen: set[int] = set()
    deadline = time.monotonic() + RUN_SECONDS_MAX
    while not observatory.ended and time.monotonic() < deadline:
        driver.act()
        fleet.check_alive()
        seen.update(one.episode for one in observatory.open_episodes())
        await asyncio.sleep(0.05)
    run.episodes = len(seen)


async def _look(run: ShortRun, fleet: Fleet) -> None:
    await asyncio.sleep(2.5 * SCRAPE_SECONDS)  # the last state is scraped, and rules that stand on rules are evaluated
    run.ended_s = time.time()
    for name in SERVICES:
        run.metrics[name] = await asyncio.to_thread(_get, f"{fleet.ports[name].url}/metrics")


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]

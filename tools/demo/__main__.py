"""`make demo`: everything as separate processes, real prices, three crashes, a reconciliation that can be signed."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError

from libs.common.config import load_parameters
from tools.broker import BrokerFault, kafka_for
from tools.demo import population
from tools.demo.board import Board
from tools.demo.driver import Driver, EdgeRefused, spread
from tools.demo.gate import Gate
from tools.demo.killer import kill_while_in_flight
from tools.demo.observe import Observatory
from tools.demo.processes import SERVICES, Fleet, NotReady
from tools.demo.spans import SPANS, Span
from tools.topics import create_topics, existing_topics

RUN_DIRECTORY = Path(".run/demo")
BALLAST_ROOT = Path(__file__).resolve().parents[2]
ACCOUNTS, SEED = 1_000, 7
QUIET_SECONDS_MAX = 60.0
# Who is needed to open accounts; risk makes its kernels meanwhile.
FOR_OPENING = ("price_ingestion", "collateral_management", "interest_accrual", "venue_gateway")
GAP_STEP_SECONDS = 14_400  # strides between windows, as long as no price moves too far in one


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 when the books balance, 1 when something broke, 2 when it could not begin."""
    options = parse(arguments)
    broker = RUN_DIRECTORY / "broker"
    for path in RUN_DIRECTORY.glob("*"):
        if path != broker:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    try:
        with kafka_for(broker, say=_say) as bootstrap:
            return asyncio.run(_interruptible(_demo(options, bootstrap)))
    except (BrokerFault, CannotBegin) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except (NotReady, EdgeRefused, TimeoutError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("demo: stopped", file=sys.stderr)
        return 130


class CannotBegin(RuntimeError):
    """The demo cannot begin; the message says what was expected."""


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options of a run; ends the process with 2 and a usage line when they cannot be."""
    parser = argparse.ArgumentParser(prog="make demo ARGS=...", description=__doc__)
    parser.add_argument("--speed", type=int, default=0, metavar="N", help="at most N run seconds a second; 0: no bound")
    parser.add_argument("--no-board", action="store_true", help="plain lines instead of the live board")
    parser.add_argument("--span", choices=tuple(SPANS), default="crashes", help="what to replay (default: crashes)")
    parser.add_argument(
        "--accounts", type=int, default=ACCOUNTS, metavar="N", help=f"client accounts (default: {ACCOUNTS})"
    )
    parser.add_argument(
        "--seed", type=int, default=SEED, metavar="N", help=f"of the clients' books and habits (default: {SEED})"
    )
    parser.add_argument(
        "--kill", choices=SERVICES, metavar="SERVICE",
        help=f"SIGKILL a service while an order of an episode is in flight: {', '.join(SERVICES)}",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if not 0 <= options.speed <= 1_000_000 or not 1 <= options.accounts <= 20_000:
        parser.error("expected --speed in 0 .. 1000000 and --accounts in 1 .. 20000")
    return options


def _say(line: str) -> None:
    print(line, flush=True)


async def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    """Runs the demo; SIGINT and SIGTERM cancel it, so that everything is put away in order."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    return await task


async def _demo(options: argparse.Namespace, bootstrap: str) -> int:
    began_s = int(time.time())
    parameters = load_parameters(BALLAST_ROOT / "config").parameters
    span = SPANS[options.span]
    await _prepare(bootstrap, home_partitions=parameters.partitions)
    gate = Gate()
    replay = {
        "BALLAST_REPLAY_WINDOWS": span.windows,
        "BALLAST_REPLAY_SPEED": str(options.speed),
        "BALLAST_GAP_STEP_SECONDS": str(GAP_STEP_SECONDS),
    }
    fleet = Fleet(
        bootstrap=bootstrap, directory=RUN_DIRECTORY / "logs", gate_url=gate.url, extra={"price_ingestion": replay}
    )
    observatory = Observatory(
        bootstrap=bootstrap, parameters=parameters, windows=span.windows,
        service_urls={name: ports.url for name, ports in fleet.ports.items()},
        replay_target=fleet.ports["price_ingestion"].target,
    )  # fmt: skip
    driver = Driver(
        parameters=parameters, target=fleet.ports["venue_gateway"].target, market=observatory,
        schedule_ns=spread(span.bounds_ns()),
    )  # fmt: skip
    try:
        fleet.start()
        _say(f"started {len(fleet.processes)} processes, logs in {fleet.directory}")
        await observatory.start()
        await fleet.wait_ready(FOR_OPENING)
        await _open(options, driver, span, ends_at_s=span.ends_at_s(parameters))
        await fleet.wait_ready()
        observatory.on_margin_call = driver.on_margin_call
        gate.open()
        killed = await _replay(options, fleet, observatory, driver)
        await _quiet(fleet, observatory, driver)
    finally:
        await driver.stop()
        await observatory.stop()
        await asyncio.to_thread(fleet.stop)
        gate.stop()
    return await _reconcile(options, bootstrap, span, driver, killed=killed, began_s=began_s)


async def _prepare(bootstrap: str, *, home_partitions: int) -> None:
    try:
        if await existing_topics(bootstrap):
            raise CannotBegin(
                f"expected a cluster without Ballast's topics at {bootstrap}; delete them or use another one"
            )
        await create_topics(bootstrap, home_partitions=home_partitions)
    except (KafkaError, OSError, ValueError) as error:
        raise CannotBegin(f"expected a usable Kafka at {bootstrap}, was {error}") from error


async def _open(options: argparse.Namespace, driver: Driver, span: Span, *, ends_at_s: dict[str, int]) -> None:
    clients = population.clients(options.accounts, seed=options.seed, seconds=span.seconds(), ends_at_s=ends_at_s)
    await driver.open_house(population.house_capital(options.accounts))
    await driver.open_lenders(population.lenders(options.accounts))
    await driver.open_clients(clients, on_open=lambda count: None)
    _say(
        f"opened {len(clients)} client accounts and {population.LENDERS} lenders through the edge (seed {options.seed})"
    )


async def _replay(options: argparse.Namespace, fleet: Fleet, observatory: Observatory, driver: Driver) -> str:
    killing = None
    if options.kill:
        killing = asyncio.create_task(kill_while_in_flight(fleet, observatory, options.kill))
    with Board(observatory, plain=options.no_board or not sys.stdout.isatty()) as board:
        while not observatory.ended:
            driver.act()
            board.refresh()
            if killing is None or killing.done():
                fleet.check_alive()
            await asyncio.sleep(0.05)
    if killing is None:
        return ""
    if not killing.done():
        killing.cancel()
        raise NotReady(f"no order of an episode was in flight, so {options.kill} was not killed")
    return killing.result().describe()


async def _quiet(fleet: Fleet, observatory: Observatory, driver: Driver) -> None:
    """Cancels what clients left open and waits until nothing is under way."""
    await driver.answered(timeout_s=QUIET_SECONDS_MAX)
    orders = [(one.account, one.order) for one in observatory.live_orders() if not one.episode]
    await driver.cancel(orders)
    await observatory.wait(
        lambda: not (observatory.live_orders() or observatory.open_episodes() or observatory.pending_reservations()),
        timeout_s=QUIET_SECONDS_MAX,
    )
    fleet.check_alive()
    held = observatory.snapshot().clock.held_seconds
    reasons = ", ".join(f"{reason.replace('_', ' ')} {seconds:.0f} s" for reason, seconds in held if seconds >= 1)
    _say(f"the replay clock was held {sum(seconds for _, seconds in held):.0f} s of wall time: {reasons}")


async def _reconcile(
    options: argparse.Namespace, bootstrap: str, span: Span, driver: Driver, *, killed: str, began_s: int
) -> int:
    """Has a separate process read the topics, and nothing else, and say whether the books are right."""
    reconcile = [
        sys.executable, "-m", "tools.reconcile", "--bootstrap", bootstrap, "--target", "demo", "--seed",
        str(options.seed), "--crashes", span.crashes, "--command", command(options), "--began", str(began_s),
    ]  # fmt: skip
    if killed:
        _say(killed)
    asked = ", ".join(f"{count} {what}" for what, count in sorted(driver.sent.items()))
    refused = ", ".join(f"{count} {name}" for name, count in driver.refusals.most_common())
    _say(f"clients asked: {asked}; refused: {refused or 'nothing'}")
    done = await asyncio.to_thread(subprocess.run, reconcile, check=False)
    return done.returncode


def command(options: argparse.Namespace) -> str:
    """What to type for a run with these options: the report names it."""
    given = [f"--kill {options.kill}"] if options.kill else []
    given += [f"--span {options.span}"] if options.span != "crashes" else []
    given += [f"--accounts {options.accounts}"] if options.accounts != ACCOUNTS else []
    given += [f"--seed {options.seed}"] if options.seed != SEED else []
    given += [f"--speed {options.speed}"] if options.speed else []
    return "make demo" + (f' ARGS="{" ".join(given)}"' if given else "")


if __name__ == "__main__":
    sys.exit(main())

"""What operators watch of pools and funding over all partitions, computed from the view at each scrape."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from libs.common.units import INDEX_ONE, PPM, RATE_ONE, SECOND_NS
from libs.common.watch import gauges
from services.interest_accrual.app.view import View
from services.interest_accrual.domain import curve

_PREFIX = "ballast_interest"


class PoolMeters:
    """Shows a pool as its last tick left it; silent about one whose partitions stand at different ticks."""

    def __init__(self, view: View) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """Utilisation, rates, indices and ticks."""
        view, shown = self._view, self._pools()
        for noun, description in (
            ("utilisation_ratio", "Share of the pool's money that is lent"),
            ("borrow_rate_ratio", "Rate a year that borrowers pay"),
            ("supply_rate_ratio", "Rate a year that lenders earn"),
            ("borrow_index_ratio", "Units owed per share of debt"),
            ("supply_index_ratio", "Units owned per share of supply"),
        ):
            samples = [((asset,), values[noun]) for asset, values in shown.items()]
            yield gauges(f"{_PREFIX}_{noun}", description, ("asset",), samples)
        every_s = view.parameters.schedule.interest_every_ns / SECOND_NS
        late = [((str(number), asset), self._due() * every_s - tick * every_s) for number, asset, tick in self._ticks()]
        yield gauges(
            f"{_PREFIX}_tick_late_seconds",
            "Run time between the tick that is due and the one a partition has",
            ("partition", "asset"),
            late,
        )

    def _pools(self) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        for pool in self._view.parameters.pools:
            state, asset = self._view.pool_state(pool.asset), self._view.parameters.asset(pool.asset)
            if state is None or asset is None:
                continue
            borrow = curve.borrow_rate(pool, debt=state.debt, idle=state.idle)
            supply = curve.supply_rate(pool, borrow_rate=borrow, debt=state.debt, idle=state.idle)
            found[asset.symbol] = {
                "utilisation_ratio": curve.utilisation(debt=state.debt, idle=state.idle) / PPM,
                "borrow_rate_ratio": borrow / RATE_ONE,
                "supply_rate_ratio": supply / RATE_ONE,
                "borrow_index_ratio": state.borrow_index / INDEX_ONE,
                "supply_index_ratio": state.supply_index / INDEX_ONE,
            }
        return found

    def _due(self) -> int:
        parameters = self._view.parameters
        elapsed = max(0, self._view.run_time_ns - parameters.genesis_ns)
        return elapsed // parameters.schedule.interest_every_ns

    def _ticks(self) -> Iterator[tuple[int, str, int]]:
        for number, partition in enumerate(self._view.partitions):
            for pool in self._view.parameters.pools:
                asset = self._view.parameters.asset(pool.asset)
                if asset is not None:
                    yield number, asset.symbol, partition.pool_tick(pool.asset)

"""What a walk reads hour by hour: prices, the volatilities and surfaces that the service would publish at them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from libs.common.option_parameters import SurfaceRule
from libs.common.parameters import Instrument, Parameters
from libs.common.units import YEAR_NS, UnixNs
from libs.common.validity import ValidityClass
from libs.options.svi import SviSlice
from services.price_ingestion.domain.guard import Mark as PublishedMark
from services.price_ingestion.domain.marks import MarkRow
from services.price_ingestion.domain.smiles import realised_variance, smile_of
from services.price_ingestion.domain.surfaces import SurfaceBook, SurfaceQuote, SurfaceRow
from services.price_ingestion.domain.volatility import Profiles
from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.surfaces import Smile, VolatilitySurface
from services.risk_evaluation.domain.volatility import Sigmas
from tools.backtest.history import Hourly, marks_of

_SOURCE = "tape"


@dataclass(frozen=True, slots=True)
class Tape:
    """Prices by hour and the volatilities in force at each; both follow from earlier prices alone."""

    hourly: Hourly
    sigmas: Sequence[Mapping[int, Sigmas]]

    @property
    def hours(self) -> int:
        """Hours there are."""
        return int(self.hourly.prices.shape[0])

    def surfaces(self, parameters: Parameters, hour: int, prices: F8) -> dict[int, VolatilitySurface]:
        """The surfaces of an hour, made by the replay's own rule; `prices` may be others than that hour's: a stress."""
        expiries: dict[int, set[int]] = {}
        for one in parameters.instruments:
            if one.is_option:
                expiries.setdefault(one.underlying, set()).add(one.expiry_ns)
        now_ns = self.hourly.at_ns(hour)
        quotes = {
            rule.asset: [
                SurfaceQuote(
                    _SOURCE,
                    tuple(
                        (UnixNs(at), smile_of(rule, variance=variance, years=(at - now_ns) / YEAR_NS))
                        for at in sorted(expiries[rule.asset])
                        if at > now_ns
                    ),
                )
            ]
            for rule in parameters.surfaces
            if rule.asset in expiries
            for variance in (realised_variance(self._samples(parameters, rule, hour, prices), rule),)
        }
        # Without options the book makes surfaces alone: their marks are nobody's business here.
        book = SurfaceBook(replace(parameters, instruments=_plain(parameters)))
        book.move(quotes, marks=list(_rows(parameters, prices)), now_ns=UnixNs(now_ns))
        return {row.underlying: _as_read(row) for row in book.surfaces}

    def _samples(self, parameters: Parameters, rule: SurfaceRule, hour: int, prices: F8) -> list[tuple[int, int]]:
        column = [one.asset for one in parameters.margin.assets].index(rule.asset)
        first = max(0, hour - rule.window_ns // rule.sample_every_ns)
        levels = [*self.hourly.prices[first:hour, column], prices[column]]
        return [(self.hourly.at_ns(first + at), max(1, round(float(one) * 1e6))) for at, one in enumerate(levels)]


def static_tape(hourly: Hourly) -> Tape:
    """Every asset keeps the sigma of its margin block."""
    return Tape(hourly, [{}] * hourly.prices.shape[0])


def profiled_tape(parameters: Parameters, hourly: Hourly) -> Tape:
    """Volatilities as `price_ingestion` publishes them with a frame an hour; risk judges by the last one published."""
    profiles = Profiles(parameters)
    levels: dict[int, Sigmas] = {}
    sigmas = []
    for hour, row in enumerate(hourly.prices):
        for moved in profiles.take(_rows(parameters, row), now_ns=UnixNs(hourly.at_ns(hour))):
            levels[int(moved.asset)] = Sigmas(moved.initial, moved.maintenance)
        sigmas.append(dict(levels))
    return Tape(hourly, sigmas)


def _plain(parameters: Parameters) -> tuple[Instrument, ...]:
    return tuple(one for one in parameters.instruments if not one.is_paid_up)


def _rows(parameters: Parameters, prices: F8) -> Iterator[MarkRow]:
    marks = marks_of(parameters, prices)
    for one in _plain(parameters):
        price = marks[one.id].price
        yield MarkRow(one.id, PublishedMark(price, price, 0, ValidityClass.VALID), price)


def _as_read(row: SurfaceRow) -> VolatilitySurface:
    """The surface as risk has it once it is read from the wire."""
    smiles = tuple(
        Smile(
            one.expiry_ns,
            one.forward_price,
            one.discount_rate,
            SviSlice(
                one.smile.a, one.smile.b, one.smile.rho, one.smile.m, one.smile.sigma, 1.0,
                (one.expiry_ns - row.made_at_ns) / YEAR_NS,
            ),
        )
        for one in row.smiles
    )  # fmt: skip
    return VolatilitySurface(row.made_at_ns, row.validity, smiles)

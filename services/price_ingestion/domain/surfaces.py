"""The volatility surfaces in force, guarded like prices, and the marks of options and packages that follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from libs.common.ids import AssetId, InstrumentId
from libs.common.option_parameters import SurfaceRule
from libs.common.parameters import Asset, Instrument, InstrumentKind, Parameters
from libs.common.units import PPM, YEAR_NS, UnixNs
from libs.common.validity import ValidityClass
from libs.options.black import LineKind, black76
from libs.options.digital import smile_digital
from libs.options.normal import exp
from libs.options.surface import Repair, Surface, SurfaceBounds, SurfaceRefused, check_surface
from libs.options.svi import SviSlice
from services.price_ingestion.domain.guard import Mark
from services.price_ingestion.domain.marks import MarkRow
from services.price_ingestion.domain.smiles import RATE_ONE


@dataclass(frozen=True, slots=True)
class SurfaceQuote:
    """A surface as a source gave it, untrusted: smiles by expiry, forwards as multiples of the source's own spot."""

    source: str
    smiles: tuple[tuple[UnixNs, SviSlice], ...]


@dataclass(frozen=True, slots=True)
class DroppedSurface:
    """A surface that was not taken, and why."""

    underlying: AssetId
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class SmileRow:
    """One expiry as published: its forward is an integer with the exponent of the underlying's price instrument."""

    expiry_ns: UnixNs
    forward_price: int
    discount_rate: int
    smile: SviSlice
    repairs: tuple[Repair, ...]


@dataclass(frozen=True, slots=True)
class SurfaceRow:
    """One underlying's surface as published."""

    underlying: AssetId
    made_at_ns: UnixNs
    validity: ValidityClass
    smiles: tuple[SmileRow, ...]


@dataclass(frozen=True, slots=True)
class Moved:
    """What a moment did to surfaces and to the marks of options."""

    surfaces: tuple[SurfaceRow, ...] = ()
    marks: tuple[MarkRow, ...] = ()
    dropped: tuple[DroppedSurface, ...] = ()


class SurfaceBook:
    """Surfaces of every underlying that has options; rebuilt from the log, then moved by sources.

    A surface is one source's as a whole: a mixture of two that are free of arbitrage need not be free of it.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._rules = {rule.asset: rule for rule in parameters.surfaces}
        self._assets: dict[int, Asset] = {one.id: one for one in parameters.assets}
        self._instruments: dict[int, Instrument] = {one.id: one for one in parameters.instruments}
        self._paid_up = tuple(one for one in parameters.instruments if one.is_paid_up)
        self._surfaces: dict[AssetId, SurfaceRow] = {}
        self._marks: dict[InstrumentId, MarkRow] = {}

    def restore(self, surfaces: Iterable[SurfaceRow], rows: Iterable[MarkRow]) -> None:
        """Takes over what stands on the log."""
        self._surfaces.update((one.underlying, one) for one in surfaces)
        paid_up = {one.id for one in self._paid_up}
        self._marks.update((row.instrument, row) for row in rows if row.instrument in paid_up)

    def move(
        self, quotes: Mapping[AssetId, Sequence[SurfaceQuote]], *, marks: Iterable[MarkRow], now_ns: UnixNs
    ) -> Moved:
        """Moves surfaces, then the marks of options and packages, to this moment.

        Args:
            marks: of everything else, at this moment.
        """
        spot = {row.instrument: row.mark for row in marks}
        surfaces, dropped = dict(self._surfaces), []
        for asset, rule in self._rules.items():
            mark = spot.get(self._price_instrument(asset)) if asset in quotes or asset in surfaces else None
            if mark is None:
                continue
            row, faults = _guarded(rule, quotes.get(asset, ()), surfaces.get(asset), mark, now_ns)
            dropped += faults
            if row is not None:
                surfaces[asset] = row
        rows = {}
        for one in self._paid_up:
            priced = self._row(one, surfaces.get(one.underlying), spot, now_ns)
            if priced is not None:
                rows[one.id] = priced
        moved = Moved(
            surfaces=tuple(one for asset, one in surfaces.items() if self._surfaces.get(asset) != one),
            marks=tuple(row for key, row in rows.items() if self._marks.get(key) != row),
            dropped=tuple(dropped),
        )
        self._surfaces, self._marks = surfaces, {**self._marks, **rows}
        return moved

    @property
    def surfaces(self) -> tuple[SurfaceRow, ...]:
        """Every surface in force."""
        return tuple(self._surfaces.values())

    def rows(self) -> tuple[MarkRow, ...]:
        """The mark of every option and package that has one, in the order of the parameters."""
        return tuple(self._marks[one.id] for one in self._paid_up if one.id in self._marks)

    def _price_instrument(self, asset: AssetId) -> InstrumentId:
        return self._assets[asset].price_instrument or InstrumentId(0)

    def _row(
        self, option: Instrument, surface: SurfaceRow | None, spot: Mapping[InstrumentId, Mark], now_ns: UnixNs
    ) -> MarkRow | None:
        index = spot.get(self._price_instrument(option.underlying))
        if index is None:
            return None
        exponent = self._instruments[self._price_instrument(option.underlying)].price_exponent
        smile = _smile_at(surface, option, now_ns)
        if smile is None or surface is None:
            return self._stale(option)
        price = index.mark_price * 10.0**exponent
        if option.is_package:
            value, delta = self._package_value(option, surface, smile, index=price, exponent=exponent)
        else:
            value, delta = _value(option, surface, smile, index=price, exponent=exponent)
        step = 10.0**option.price_exponent * (price if _in_coins(option) else 1.0)
        mark = min(max(1, round(value / step)), option.max_price)
        width = round(abs(delta) * index.confidence * 10.0**exponent / step)
        validity = max(surface.validity, index.validity)
        return MarkRow(option.id, Mark(mark, mark, width, validity), mark)

    def _package_value(
        self, package: Instrument, surface: SurfaceRow, smile: SmileRow, *, index: float, exponent: int
    ) -> tuple[float, float]:
        """Value and delta of a package, in the quote for each coin that its price is for: those of its legs."""
        value, delta = 0.0, 0.0
        for leg in package.legs:
            if leg.instrument:
                option = self._instruments[leg.instrument]
                size = leg.amount * self._size(option)
                own, slope = _value(option, surface, smile, index=index, exponent=exponent)
            else:
                size = leg.amount / 10.0 ** self._assets[leg.asset].decimals
                own, slope = (index, 1.0) if leg.asset == package.underlying else (1.0, 0.0)
            value, delta = value + size * own, delta + size * slope
        coins = self._size(package)
        return value / coins, delta / coins

    def _size(self, one: Instrument) -> float:
        """Coins of a lot, or of a digital the money that it pays."""
        if one.is_digital:
            return one.payout_units / 10.0 ** self._assets[one.quote].decimals
        return one.base_units_per_lot / 10.0 ** self._assets[one.underlying].decimals

    def _stale(self, option: Instrument) -> MarkRow | None:
        last = self._marks.get(option.id)
        if last is None:
            return None
        mark = last.mark
        return MarkRow(
            option.id, Mark(mark.mark_price, mark.index_price, mark.confidence, ValidityClass.STALE), last.slow_price
        )


def _in_coins(option: Instrument) -> bool:
    return option.kind is InstrumentKind.COIN_OPTION


def _smile_at(surface: SurfaceRow | None, option: Instrument, now_ns: UnixNs) -> SmileRow | None:
    """The smile of an option's expiry; past it a smile of no time, whose forward is the index; None where none is."""
    if option.expiry_ns <= now_ns and surface is not None:
        still = SviSlice(a=0.0, b=0.0, rho=0.0, m=0.0, sigma=1.0, forward=1.0, years=0.0)
        return SmileRow(option.expiry_ns, 0, 0, still, ())
    found = surface.smiles if surface is not None else ()
    return next((one for one in found if one.expiry_ns == option.expiry_ns), None)


def _value(
    option: Instrument, surface: SurfaceRow, smile: SmileRow, *, index: float, exponent: int
) -> tuple[float, float]:
    """Value and delta of an option on one coin, of a digital that pays 1, in the quote."""
    years = max(0.0, (option.expiry_ns - surface.made_at_ns) / YEAR_NS)
    forward = smile.forward_price * 10.0**exponent if smile.forward_price else index
    strike = option.strike * 10.0**option.settlement_exponent
    vol = smile.smile.vol(strike / forward)
    discount = exp(-smile.discount_rate / RATE_ONE * years)
    if option.is_digital:
        slope = smile.smile.vol_slope(strike / forward) / forward
        kind = LineKind.DIGITAL_CALL if option.is_call else LineKind.DIGITAL_PUT
        one = smile_digital(
            forward=forward, strike=strike, years=years, vol=vol, slope=slope, discount=discount, kind=kind
        )
        return one.value, one.delta
    kind = LineKind.CALL if option.is_call else LineKind.PUT
    found = black76(forward=forward, strike=strike, years=years, vol=vol, discount=discount, kind=kind)
    return found.value, found.delta


def _guarded(
    rule: SurfaceRule, quotes: Sequence[SurfaceQuote], last: SurfaceRow | None, mark: Mark, now_ns: UnixNs
) -> tuple[SurfaceRow | None, list[DroppedSurface]]:
    """The surface that these quotes support, None while no source has ever given a usable one.

    One usable source gives DEGRADED, two or more within the band the one in the middle and VALID, wider apart they give
    HOLD, none gives STALE; HOLD and STALE keep the last good surface.
    """
    usable: list[tuple[float, SurfaceQuote, Surface]] = []
    dropped: list[DroppedSurface] = []
    for quote in quotes:
        ahead = [(at, one) for at, one in quote.smiles if at > now_ns]
        checked = check_surface([one for _, one in ahead], SurfaceBounds(rule.repair_max / PPM))
        if isinstance(checked, SurfaceRefused):
            dropped.append(DroppedSurface(rule.asset, quote.source, f"{checked.reason.name.lower()}: {checked.detail}"))
            continue
        nearest = checked.slices[0]
        level = (nearest.at_the_money() / nearest.years) ** 0.5
        usable.append((level, SurfaceQuote(quote.source, tuple(ahead)), checked))
    if not usable:
        return _kept(last, ValidityClass.STALE), dropped
    usable.sort(key=lambda one: (one[0], one[1].source))
    if usable[-1][0] - usable[0][0] > rule.band / PPM * usable[-1][0]:
        return _kept(last, ValidityClass.HOLD), dropped
    _, quote, surface = usable[len(usable) >> 1]  # of two the higher one
    validity = ValidityClass.VALID if len(usable) > 1 else ValidityClass.DEGRADED
    smiles = tuple(
        SmileRow(
            expiry_ns=at,
            forward_price=max(1, round(mark.mark_price * smile.forward)),
            discount_rate=rule.rate,
            smile=smile,
            repairs=tuple(one for one in surface.repairs if one.years == smile.years),
        )
        for (at, _), smile in zip(quote.smiles, surface.slices, strict=True)
    )
    return SurfaceRow(rule.asset, now_ns, validity, smiles), dropped


def _kept(last: SurfaceRow | None, validity: ValidityClass) -> SurfaceRow | None:
    return last and SurfaceRow(last.underlying, last.made_at_ns, validity, last.smiles)

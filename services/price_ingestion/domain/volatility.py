"""Volatility profiles: what volatility an underlying is judged by, new risk at once, maintenance after notice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from libs.common.ids import AssetId, InstrumentId
from libs.common.parameters import Parameters, VolatilityProfile
from libs.common.units import PPM, SECOND_NS, YEAR_NS, Ppm, UnixNs
from libs.common.validity import Action, permits
from services.price_ingestion.domain.marks import MarkRow

HOUR_NS = 3_600 * SECOND_NS
LEVEL_STEP = 5_000  # published levels move by half points: a level that moved with every mark would say nothing more
CLOSES_MAX = 500  # hours of an asset
_DUST = 0.001  # 10^-6: 1.1 times a million is a little more than that in floats


@dataclass(frozen=True, slots=True)
class Sample:
    """A return: when it ended, how long it took, and its square (of the logarithm)."""

    at_ns: int
    elapsed_ns: int
    squared: float


@dataclass(frozen=True, slots=True)
class ProfileState:
    """Where a profile stands; volatilities and variances a year.

    Args:
        price, price_at_ns: where the last return ended.
        fast, slow: exponentially weighted variances.
        samples: returns inside the realised window, oldest first.
        initial, maintenance: volatilities in force.
        lows: (until, level) low points of `initial` within the notice, both rising: what has stood that long.
    """

    now_ns: int
    price: float
    price_at_ns: int
    fast: float
    slow: float
    samples: tuple[Sample, ...]
    initial: float
    maintenance: float
    lows: tuple[tuple[int, float], ...] = ()

    def level(self, asset: AssetId) -> Level:
        """What is published: for new risk the step at or above, for maintenance the one at or below.

        So maintenance never exceeds new risk, nor what it may have risen to since the notice.
        """
        return Level(
            asset,
            Ppm(math.ceil((self.initial * PPM - _DUST) / LEVEL_STEP) * LEVEL_STEP),
            Ppm(math.floor((self.maintenance * PPM + _DUST) / LEVEL_STEP) * LEVEL_STEP),
        )


@dataclass(frozen=True, slots=True)
class Level:
    """Volatility a year that new risk in an asset, and that its maintenance is judged by."""

    asset: AssetId
    initial: Ppm
    maintenance: Ppm


@dataclass(frozen=True, slots=True)
class Close:
    """Price of an asset at the end of an hour of run time, USD."""

    at_ns: UnixNs
    price: float


Closes = dict[AssetId, tuple[Close, ...]]


class Profiles:
    """The profile of every asset that has one, and hourly closes of all, moved by frames of marks.

    Whoever takes the same frames comes to the same state, so a new owner goes on from the log.
    """

    __slots__ = ("_at_ns", "_levels", "_prices", "_profiles", "_sigma", "_spot", "closed", "closes", "states")

    def __init__(self, parameters: Parameters) -> None:
        margin = parameters.margin
        self._profiles = {one.asset: one for one in margin.profiles}
        self._sigma = {one.asset: one.sigma for one in margin.assets if one.asset in self._profiles}
        self._spot: dict[InstrumentId, tuple[AssetId, float]] = {}
        for asset in parameters.assets:
            spot = None if asset.price_instrument is None else parameters.instrument(asset.price_instrument)
            if spot is not None:
                self._spot[spot.id] = asset.id, 10.0**spot.price_exponent
        self._prices: dict[AssetId, float] = {}
        self._levels: dict[AssetId, Level] = {}
        self._at_ns = UnixNs(0)
        self.states: dict[AssetId, ProfileState] = {}
        self.closes: Closes = {}
        self.closed: Closes = {}  # those that the last frame added

    def restore(
        self,
        states: Mapping[AssetId, ProfileState],
        rows: Iterable[MarkRow],
        *,
        closes: Closes,
        at_ns: UnixNs,
    ) -> None:
        """Takes over states and closes as a snapshot has them, with its rows; without a profile there is no state."""
        self._hear(rows)
        self.closes, self.closed, self._at_ns = dict(closes), {}, at_ns
        self.states = {asset: state for asset, state in states.items() if asset in self._sigma}
        self._levels = {asset: state.level(asset) for asset, state in self.states.items()}

    def take(self, rows: Iterable[MarkRow], *, now_ns: UnixNs) -> tuple[Level, ...]:
        """The levels that a frame moves; a mark that new risk may not be taken on moves none."""
        self._close(now_ns)
        self._hear(rows)
        moved: list[Level] = []
        for asset, price in self._prices.items():
            if asset not in self._sigma:
                continue
            state, profile = self.states.get(asset), self._profiles[asset]
            if state is None:
                state = begin(profile, sigma=self._sigma[asset], price=price, now_ns=now_ns)
            elif now_ns >= state.now_ns:
                state = observe(state, profile, price=price, now_ns=now_ns)
            self.states[asset] = state
            level = state.level(asset)
            if self._levels.get(asset) != level:
                self._levels[asset] = level
                moved.append(level)
        return tuple(moved)

    def _hear(self, rows: Iterable[MarkRow]) -> None:
        for row in rows:
            if row.instrument in self._spot:
                asset, unit = self._spot[row.instrument]
                if permits(row.mark.validity, Action.NEW_RISK):
                    self._prices[asset] = row.mark.mark_price * unit
                else:
                    self._prices.pop(asset, None)

    def _close(self, now_ns: UnixNs) -> None:
        """Closes the hour that has ended since the last frame, at the prices in force until now."""
        self.closed = {}
        ended_ns = UnixNs(now_ns // HOUR_NS * HOUR_NS)
        if self._at_ns and ended_ns > self._at_ns and now_ns - self._at_ns <= HOUR_NS:
            for asset, price in self._prices.items():
                self.closed[asset] = (Close(ended_ns, price),)
                self.closes[asset] = (*self.closes.get(asset, ()), Close(ended_ns, price))[-CLOSES_MAX:]
        self._at_ns = now_ns

    def levels(self) -> tuple[Level, ...]:
        """Every level in force."""
        return tuple(self._levels.values())


def begin(profile: VolatilityProfile, *, sigma: Ppm, price: float, now_ns: int) -> ProfileState:
    """A profile without history: it starts at sigma, as if that had been measured. Raises ValueError, no price."""
    level = min(max(sigma, profile.floor), profile.ceiling) / PPM
    variance = (sigma / PPM) ** 2
    return ProfileState(now_ns, _checked(price), now_ns, variance, variance, (), level, level)


def observe(state: ProfileState, profile: VolatilityProfile, *, price: float, now_ns: int) -> ProfileState:
    """The state after a price.

    New risk follows the target up at once and down at most by half each `fall_half_life`. Maintenance follows what new
    risk was judged by through the whole notice, and rises at most by its share an hour; so it never exceeds new risk's,
    a spike that is gone within the notice never reaches it, and no parameter liquidates anybody within the notice.

    Raises:
        ValueError: time falls, or a price that is none.
    """
    elapsed = now_ns - state.now_ns
    if elapsed < 0:
        raise ValueError(f"expected a time from {state.now_ns}, was {now_ns}")
    fast, slow, samples = _with_return(state, profile, price=_checked(price), now_ns=now_ns)
    target = target_of(profile, fast=fast, slow=slow, samples=samples)
    initial = max(target, state.initial * 2.0 ** (-elapsed / profile.fall_half_life_ns))
    initial = min(initial, profile.ceiling / PPM)
    lows = _lows(state, profile, now_ns)
    stood = min(initial, lows[0][1]) if lows else initial
    # One hour's rise a step at most: a silent feed saves up no rises.
    hours = min(1.0, elapsed / HOUR_NS)
    risen = state.maintenance * (1.0 + profile.maintenance_rise_per_hour / PPM) ** hours
    taken = now_ns - state.price_at_ns >= profile.sample_every_ns
    return ProfileState(
        now_ns=now_ns,
        price=price if taken else state.price,
        price_at_ns=now_ns if taken else state.price_at_ns,
        fast=fast if taken else state.fast,
        slow=slow if taken else state.slow,
        samples=samples if taken else state.samples,
        initial=initial,
        maintenance=min(stood, risen),
        lows=lows,
    )


def target_of(profile: VolatilityProfile, *, fast: float, slow: float, samples: tuple[Sample, ...]) -> float:
    """Volatility the profile aims at: the highest measure blended with the stressed one, not below the floor.

    Source: EU 153/2013, article 28(1): a quarter of the weight on stressed observations, and a long-run floor.
    """
    # Until the window is full the missing part counts as still: the other measures speak for it.
    covered = max(profile.realised_window_ns, sum(one.elapsed_ns for one in samples))
    realised = sum(one.squared for one in samples) / (covered / YEAR_NS)
    measured = math.sqrt(max(fast, slow, realised))
    weight = profile.stressed_weight / PPM
    blended = (1.0 - weight) * measured + weight * profile.stressed / PPM
    return min(max(blended, profile.floor / PPM), profile.ceiling / PPM)


def _with_return(
    state: ProfileState, profile: VolatilityProfile, *, price: float, now_ns: int
) -> tuple[float, float, tuple[Sample, ...]]:
    """Measures with the return since the last sample, whether or not it is long enough to be kept."""
    elapsed = now_ns - state.price_at_ns
    if elapsed == 0:
        return state.fast, state.slow, state.samples
    squared = math.log(price / state.price) ** 2
    a_year = squared / (elapsed / YEAR_NS)
    # Weight and rate cancel for a short return: a jump counts by its size, however fast it came.
    stays = 2.0 ** (-elapsed / profile.fast_half_life_ns)
    fast = state.fast * stays + a_year * (1.0 - stays)
    stays = 2.0 ** (-elapsed / profile.slow_half_life_ns)
    slow = state.slow * stays + a_year * (1.0 - stays)
    oldest = now_ns - profile.realised_window_ns
    kept = tuple(one for one in state.samples if one.at_ns > oldest)
    return fast, slow, (*kept, Sample(now_ns, elapsed, squared))


def _lows(state: ProfileState, profile: VolatilityProfile, now_ns: int) -> tuple[tuple[int, float], ...]:
    """Low points of the notice: a later one hides earlier ones that are not lower."""
    lows = [one for one in state.lows if one[0] > now_ns - profile.notice_ns and one[1] < state.initial]
    if now_ns > state.now_ns or not lows:
        same_sample = lows and lows[-1][0] // profile.sample_every_ns == now_ns // profile.sample_every_ns
        # Within a sample the lower level stands for both and stays as long as the later: at most one entry a sample.
        level = lows.pop()[1] if same_sample else state.initial
        lows.append((now_ns, level))
    return tuple(lows)


def _checked(price: float) -> float:
    if not (math.isfinite(price) and price > 0.0):
        raise ValueError(f"expected a price above 0, was {price!r}")
    return price

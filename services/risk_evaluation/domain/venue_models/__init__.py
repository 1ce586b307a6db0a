"""What each venue or protocol would demand for an account by its own rules: parameters, and what really differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from libs.common.errors import ConfigurationError
from services.risk_evaluation.domain.venue_models import aave_v3, comet, deribit_pm, derive_pm2, drift_v2, dydx_v4
from services.risk_evaluation.domain.venue_models.derive_book import Book
from services.risk_evaluation.domain.venue_models.parameters import read
from services.risk_evaluation.domain.venue_models.requirement import Demand


@dataclass(frozen=True, slots=True)
class VenueModel:
    """A model: the classes of its parameters and accounts, and the demand that follows from both."""

    parameters: type[Any]
    account: type[Any]
    demand: Callable[[Any, Any], Demand]


MODELS: dict[str, VenueModel] = {
    "aave_v3": VenueModel(aave_v3.Parameters, aave_v3.Account, aave_v3.demand),
    "comet": VenueModel(comet.Parameters, comet.Account, comet.demand),
    "deribit_pm": VenueModel(deribit_pm.Parameters, deribit_pm.Account, deribit_pm.demand),
    "derive_pm2": VenueModel(derive_pm2.Parameters, Book, derive_pm2.demand),
    "drift_v2": VenueModel(drift_v2.Parameters, drift_v2.Account, drift_v2.demand),
    "dydx_v4": VenueModel(dydx_v4.Parameters, dydx_v4.Account, dydx_v4.demand),
}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model with its parameters."""

    name: str
    model: VenueModel
    parameters: object

    def demand(self, account: object) -> Demand:
        """What the venue asks of an account of the model's own class."""
        return self.model.demand(self.parameters, account)


def load_model(name: str, raw: object, *, path: str) -> LoadedModel:
    """The model with these parameters.

    Raises: ConfigurationError for an unknown model or parameter, or one out of its bound, with path and bound.
    """
    model = MODELS.get(name)
    if model is None:
        raise ConfigurationError(f"{path}.model: expected one of {sorted(MODELS)}, was {name!r}")
    return LoadedModel(name, model, read(model.parameters, raw, f"{path}.{name}"))

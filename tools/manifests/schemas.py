"""Holds each object against the schema of its kind: Kubernetes' own, strictly, or ours for Strimzi's kinds."""

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate

from tools.manifests.render import DEPLOY, Object, label_of

KUBERNETES = "1.37"
# API groups that Kubernetes does not know by itself, and the file with the part of them that is used here.
FOREIGN = {"kafka.strimzi.io": "strimzi.json"}


def misfits(objects: Iterable[Object]) -> list[str]:
    """What does not fit its schema; an object of unknown kind fits none."""
    return [f"{label_of(one)}: {words}" for one in objects if (words := _misfit(json.dumps(one, sort_keys=True)))]


@cache
def _misfit(text: str) -> str:
    # By text: most objects of two overlays, or of one with a fault planted in it, are the same.
    one: Object = json.loads(text)
    group = str(one.get("apiVersion", "")).partition("/")[0]
    if group in FOREIGN:
        return _foreign_misfit(one, FOREIGN[group])
    try:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{error.message} at {'/'.join(str(part) for part in error.path) or 'the top'}"
    except (kubernetes_validate.SchemaNotFoundError, KeyError):
        return f"expected a kind with a schema, was {one.get('apiVersion')} {one.get('kind')}"
    return ""


def _foreign_misfit(one: Object, file: str) -> str:
    schemas = _schemas(file)
    kind = str(one.get("kind"))
    if kind.startswith("$") or kind not in schemas:
        return f"expected a kind of deploy/k8s/schemas/{file}, was {kind}"
    validator = jsonschema.Draft202012Validator({**schemas[kind], "$defs": schemas["$defs"]})
    error = jsonschema.exceptions.best_match(validator.iter_errors(one))
    return f"{error.message} at {'/'.join(map(str, error.absolute_path)) or 'the top'}" if error else ""


@cache
def _schemas(file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "schemas" / file).read_text(encoding="utf-8"))
    return found

"""Loads a parameter set, validates it whole and gives it an identity."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from libs.common.config.blocks import ConfigBlock
from libs.common.config.building import build
from libs.common.errors import ConfigurationError


class LoadedParameters:
    """A parameter set with its identity: `.parameters`, `.canonical_json`, `.hash` (SHA-256 of it)."""

    __slots__ = ("canonical_json", "hash", "parameters")

    def __init__(self, canonical_json: str) -> None:
        block = _validated(json.loads(canonical_json), "parameter set")
        self.canonical_json = canonical_json
        self.hash = hashlib.sha256(canonical_json.encode()).digest()
        self.parameters = build(block)


def load_parameters(directory: Path) -> LoadedParameters:
    """The parameter set of all `*.yaml` of a directory; each top-level key may stand in one file only.

    Raises:
        ConfigurationError: unreadable, unknown key, impossible value; names file or path and bound.
    """
    merged: dict[str, Any] = {}
    paths = sorted(directory.glob("*.yaml"))
    if not paths:
        raise ConfigurationError(f"expected *.yaml files in {directory}, found none")
    for path in paths:
        for key, value in _read(path).items():
            if key in merged:
                raise ConfigurationError(f"{path.name}: expected {key} in one file only")
            merged[key] = value
    block = _validated(merged, str(directory.name))
    return LoadedParameters(json.dumps(block.model_dump(), sort_keys=True, separators=(",", ":")))


class _OnceLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping: YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping."""
        keys = [key.value for key, _ in node.value]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise yaml.YAMLError(f"expected {twice} once, was twice; line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_OnceLoader)  # a SafeLoader
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path.name}: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigurationError(f"{path.name}: expected blocks by name, was {str(content)[:80]}")
    return content


def _validated(content: dict[str, Any], where: str) -> ConfigBlock:
    try:
        return ConfigBlock.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise ConfigurationError(f"{where}: {path}: Field required, and no *.yaml gives it") from error
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{where}: {path}: {message} (was {str(first['input'])[:80]})") from error

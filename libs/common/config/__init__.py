"""Domain parameters from YAML: blocks in human units, validated whole, hashed, turned into plain values."""

from libs.common.config.loading import LoadedParameters, load_parameters

__all__ = ["LoadedParameters", "load_parameters"]

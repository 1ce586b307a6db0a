"""Folds journals into columns, turns margins into frames, verdicts, episodes and answers."""

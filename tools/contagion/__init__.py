"""Contagion: if this venue or asset fails, who cannot pay."""

"""Mixtures and expected statistics, as frozen values."""

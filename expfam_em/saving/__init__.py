"""Models in files without pickle, and families by name."""

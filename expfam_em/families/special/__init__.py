"""Special functions, inverses and linear algebra that families share."""

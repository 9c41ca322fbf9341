"""One pass of the E-step over rows, and which kernel serves it."""

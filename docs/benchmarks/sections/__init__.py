"""One module for each section; ``run(quick)`` returns its result."""

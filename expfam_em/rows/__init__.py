"""Where rows are and in which chunks they come; no mathematics."""

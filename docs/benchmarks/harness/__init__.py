"""What the sections share: libraries in their own processes, clocks, targets, tables and plots."""

"""The driver: E-steps and M-steps until a fit ends, and where it starts. It knows iteration and no family."""

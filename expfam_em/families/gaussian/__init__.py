"""Normal densities and what is made of them."""

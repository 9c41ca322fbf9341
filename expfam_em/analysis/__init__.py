"""What fitted mixtures tell: bounds, entropies, divergences, merged components."""

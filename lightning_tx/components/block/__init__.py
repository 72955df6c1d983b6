"""Group ``block``: residual order."""

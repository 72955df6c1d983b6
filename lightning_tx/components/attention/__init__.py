"""Group ``attention``: projections and heads."""

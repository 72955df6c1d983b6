"""Group ``pattern``: who may look at whom."""

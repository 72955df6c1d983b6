"""Group ``positions``: where order enters."""

"""Group ``norm``: normalisation."""

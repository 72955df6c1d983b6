"""Floor 0: the words every component speaks. Imports torch, pydantic and the standard library only."""

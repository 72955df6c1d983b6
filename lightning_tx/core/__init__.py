"""Floor 0: the words every component speaks. Imports torch, pydantic, the kernels and the standard library only."""

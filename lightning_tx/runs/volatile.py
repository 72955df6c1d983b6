"""Keys of a config that have no bearing on results; for who compares recorded runs, and needs no PyTorch for it."""

#: Keys that do not change what is learnt: where files lie, what is recorded, which device does the work.
VOLATILE = (
    "root",
    "study",
    "margin",
    "plugins",
    "experiment",
    "tracking",
    "trainer.log_every",
    "trainer.checkpoint_every",
    "trainer.keep",
    "trainer.accelerator",
)

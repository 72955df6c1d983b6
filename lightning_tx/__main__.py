"""``python -m lightning_tx``: the same as ``ltx``."""

from lightning_tx.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

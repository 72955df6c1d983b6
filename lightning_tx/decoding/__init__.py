"""Floor 3, group ``decoding``: how a trained model's next-token scores become text."""

"""Floor 3, group ``schedule``: the learning rate of each step."""

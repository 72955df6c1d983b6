"""Floor 4: one run: from a config to a checked, trained, recorded run, and what is made of it afterwards."""

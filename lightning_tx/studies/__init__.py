"""Floor 5: studies: what a sweep's runs say about each factor, and what else differs between them."""

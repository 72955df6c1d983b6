"""Floor 3: from text to token ids and back, through the Hugging Face library ``tokenizers``."""

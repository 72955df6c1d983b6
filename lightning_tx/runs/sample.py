"""A sample of what a run's model writes, for a reader of its page."""

from lightning_tx.decoding.base import Decoding
from lightning_tx.decoding.generate import generate
from lightning_tx.model.body import Body
from lightning_tx.model.generation import Generator
from lightning_tx.model.heads.language_model import LanguageModelHead
from lightning_tx.runs.materials import Materials

#: Tokens of the validation text that are continued, at most, and tokens that are written: it takes a moment.
PROMPT_TOKENS = 16
NEW_TOKENS = 48


def sample(model: Body, materials: Materials, decoding: Decoding, *, seed: int) -> str:
    """What a model writes of itself, and after the beginning of the validation text, in Markdown.

    Returns:
        The texts; empty for a model that does not continue texts. What a translation writes is among the outputs of
        its task.
    """
    if model.num_inputs != 1 or not isinstance(model, Generator) or not isinstance(model.head, LanguageModelHead):
        return ""
    tokenizer = materials.tokenizers.target
    documents = materials.splits.validation
    room = min(PROMPT_TOKENS, max(model.max_seq_len // 2, 1))
    beginning = tokenizer.encode(documents[0][: 16 * room])[: room - 1] if documents else []
    prompts = [[tokenizer.bos_id], *([[tokenizer.bos_id, *beginning]] if beginning else [])]
    generated = generate(
        model,
        prompts,
        decoding,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        max_new_tokens=NEW_TOKENS,
        seed=seed,
    )
    texts = [
        block(tokenizer.decode(prompt[1:]) + "|" + tokenizer.decode(tokens))
        for prompt, tokens in zip(prompts, generated.sequences, strict=True)
    ]
    return "\n\n".join(["What the model writes, from the bar on:", *texts]) + "\n"


def block(text: str) -> str:
    """Any text as a block of Markdown that shows it as it is."""
    return "\n".join(f"    {line}" for line in text.splitlines())

"""Tokenizers: text comes back from ids, and ids are those of the vocabulary."""

import pickle
import tempfile
from pathlib import Path
from typing import Any

from lightning_tx.core import names
from lightning_tx.testing.component import Component
from lightning_tx.testing.elsewhere import digests_elsewhere
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.tokenizer.base import BOS, EOS, PAD, TOKENIZER, UNK, Tokenizer

#: What a tokenizer is trained on.
TEXTS = [
    "One sentence, and a number: 42.",
    "Zwei Sätze – mit “Zeichen”.",
    "a  b   c",
    "line\nline\n\n\tindented\r\n",
    " space before and after ",
    "an emoji 🙂, one of several 👩‍🔬, an accent e\u0301, a zero \u200b width",
    "x",
] * 4
#: Texts that it has not seen: every character of one byte, some of two, three and four, and white space of all kinds.
UNSEEN = [
    "".join(map(chr, range(256))),
    "".join(chr(point) for point in (0x7FF, 0x800, 0x3042, 0xD7FF, 0xE000, 0xFFFD, 0xFFFF, 0x10000, 0x1F600, 0x10FFFF)),
    "tab\tthree   spaces\u00a0\u2003\u3000\r\n\n\n end ",
    "UPPER lower Ǆ ß ﬁ ½ Å A\u030a",
    "",
    " ",
    "\n",
]
LIKE_SPECIAL = f"a {EOS} b {PAD}{BOS} {UNK}"


@holds(
    about="component",
    groups=("tokenizer",),
    usually="a decoder that does not undo the pre-tokenizer, or a normaliser that joins white space or changes case; "
    "where that is meant, say lossless = False.",
)
def texts_come_back(subject: Component) -> None:
    """Text comes back from its ids, with every space, tab and newline, unless some of it is unknown.

    A tokenizer that says ``lossless = False`` changes text once: what came back comes back as it is.
    """
    tokenizer = _trained(subject)
    known = 0
    for text in [*TEXTS, *UNSEEN]:
        ids = tokenizer.encode(text)
        if tokenizer.unk_id in ids:
            continue
        known += 1
        back = tokenizer.decode(ids)
        expected = text if subject.component.lossless else tokenizer.decode(tokenizer.encode(back))  # type: ignore[attr-defined]
        if back != expected:
            lost = next((n for n, (a, b) in enumerate(zip(expected, back, strict=False)) if a != b), len(back))
            raise Violation(f"{expected[:60]!r} comes back as {back[:60]!r}, from character {lost} on.")
    if not known:
        raise Violation(f"every text that it was trained on has an {UNK} in it.")


@holds(
    about="component",
    groups=("tokenizer",),
    usually="a vocabulary that does not start with special_tokens, or a vocab_size that leaves some out.",
)
def ids_are_in_the_vocabulary(subject: Component) -> None:
    """Ids lie from 0 to vocab_size - 1, each special token has its own, and those stand first, in their order."""
    tokenizer = _trained(subject)
    for text in [*TEXTS, *UNSEEN, LIKE_SPECIAL]:
        wrong = [each for each in tokenizer.encode(text) if not 0 <= each < tokenizer.vocab_size]
        if wrong:
            raise Violation(f"{text[:60]!r} has the id {wrong[0]}, outside of 0 to {tokenizer.vocab_size - 1}.")
    special = {token: tokenizer.id_of(token) for token in (PAD, BOS, EOS, UNK)}
    if list(special.values()) != list(range(4)):
        raise Violation(f"the special tokens have the ids {special}; expected 0 to 3.")
    if tokenizer.decode(list(special.values())):
        raise Violation(f"special tokens are decoded as {tokenizer.decode(list(special.values()))!r}, not left out.")


@holds(about="component", groups=("tokenizer",), usually="special tokens that are matched in plain text.")
def special_tokens_are_not_text(subject: Component) -> None:
    """Text that reads like a special token is encoded as the characters that it consists of."""
    tokenizer = _trained(subject, [*TEXTS, LIKE_SPECIAL])
    for name, special in ((EOS, tokenizer.eos_id), (PAD, tokenizer.pad_id), (BOS, tokenizer.bos_id)):
        if special in tokenizer.encode(LIKE_SPECIAL) or special in tokenizer.encode_batch([LIKE_SPECIAL])[0]:
            raise Violation(f"the text {name!r} becomes the special token of that name, id {special}.")


@holds(
    about="component",
    groups=("tokenizer",),
    usually="something set on the tokenizer after it was made, which its file does not hold.",
)
def a_tokenizer_is_its_file(subject: Component) -> None:
    """Saved and loaded, or pickled, it encodes as before; in a batch a text has the same ids as by itself."""
    tokenizer = _trained(subject)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder, names.TOKENIZER_FILE))
        copies = {"saved": Tokenizer.load(Path(folder, names.TOKENIZER_FILE))}
    copies["pickled"] = pickle.loads(pickle.dumps(tokenizer))
    texts = [*TEXTS[:7], *UNSEEN, LIKE_SPECIAL]
    alone = [tokenizer.encode(text) for text in texts]
    others = {f"{how} and loaded": [copy.encode(text) for text in texts] for how, copy in copies.items()}
    for how, ids in {**others, "in a batch": tokenizer.encode_batch(texts)}.items():
        for text, own, other in zip(texts, alone, ids, strict=True):
            if own != other:
                raise Violation(f"{text[:60]!r} has the ids {own[:12]}, and {how} {other[:12]}.")
    for how, copy in copies.items():
        if (copy.vocab_size, copy.digest) != (tokenizer.vocab_size, tokenizer.digest):
            raise Violation(f"{how} and loaded, its vocabulary or its digest is another.")


@holds(
    about="component",
    groups=("tokenizer",),
    usually="ties that are broken by chance, or tokens in the order of a set: sort them.",
)
def training_a_tokenizer_is_repeatable(subject: Component) -> None:
    """The same texts in the same order give the same tokenizer, here and in another process."""
    first = _trained(subject)
    options = {name: value for name, value in subject.config.items() if name != "name"}
    with digests_elsewhere(subject.component, options, TEXTS) as answer:
        second = _trained(subject)
        other_digest = answer()
    if first.digest != second.digest:
        raise Violation("trained twice on the same texts, it is another tokenizer.")
    if other_digest != first.digest:
        raise Violation("trained on the same texts by another process, it is another tokenizer.")


def _trained(subject: Component, texts: list[str] = TEXTS) -> Tokenizer:
    trainer: Any = TOKENIZER.create(subject.config)
    if trainer.of_base:
        raise NotApplicable("it stands for the tokenizer of the run to start from")
    # One text after the other, as they come from a file.
    return trainer.train(iter(texts))

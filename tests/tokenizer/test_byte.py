from lightning_tx.tokenizer.byte import Byte


def test_a_token_for_each_byte() -> None:
    tokenizer = Byte().train([])
    assert tokenizer.vocab_size == 256 + 4
    text = "".join(map(chr, range(0xD800))) + "\U0001f469\U0010ffff"
    assert len(tokenizer.encode(text)) == len(text.encode("utf-8"))
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_equal_bytes_are_equal_tokens_and_training_text_does_not_matter() -> None:
    tokenizer = Byte().train(["anything"])
    text = "Zürich, 日本"
    by_byte = dict(zip(text.encode(), tokenizer.encode(text), strict=True))
    assert [by_byte[byte] for byte in text.encode()] == tokenizer.encode(text)
    assert len(set(by_byte.values())) == len(by_byte)
    assert tokenizer.digest == Byte().train([]).digest


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    tokenizer = Byte().train([])
    assert tokenizer.decode(tokenizer.encode("é")[:1]) == "\ufffd"

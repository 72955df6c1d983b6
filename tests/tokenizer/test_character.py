from lightning_tx.tokenizer.character import Character


def test_a_token_for_each_character_in_their_order() -> None:
    tokenizer = Character().train(["bca", "é\n", "a日"])
    assert tokenizer.vocab_size == 4 + 6
    assert tokenizer.encode("\nabcé日") == [4, 5, 6, 7, 8, 9]


def test_characters_that_training_did_not_show_are_unknown_one_by_one() -> None:
    tokenizer = Character().train(["abc"])
    assert tokenizer.encode("axyb<z") == [4, 3, 3, 5, 3, 3]
    assert tokenizer.decode(tokenizer.encode("axyb")) == "ab"


def test_no_training_text() -> None:
    assert Character().train([]).encode("a") == [3]

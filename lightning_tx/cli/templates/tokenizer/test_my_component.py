from my_component import MyComponent

from lightning_tx.testing import conformance

test_conforms = conformance("tokenizer/my_component")


def test_it_keeps_the_most_frequent_words() -> None:
    tokenizer = MyComponent(num_words=3).train(["a b a b a c", "b c d"])
    first = len(MyComponent.special_tokens)
    assert tokenizer.vocab_size == first + 3
    assert tokenizer.encode("a b a") == [tokenizer.unk_id, first + 1, first]
    assert tokenizer.decode(tokenizer.encode(" a b c")) == " a b c"

from lightning_tx.tokenizer.byte import Byte
from lightning_tx.tokenizer.character import Character
from lightning_tx.tokenizer.sides import Tokenizers


def test_one_serves_both_sides() -> None:
    byte = Byte().train([])
    one = Tokenizers.of([byte])
    assert one.source is one.target is byte and one.is_one
    assert one.digest == byte.digest


def test_two_serve_a_side_each_even_if_they_are_alike() -> None:
    byte, character = Byte().train([]), Character().train(["abc"])
    two = Tokenizers.of([byte, character])
    assert two.source is byte and two.target is character and not two.is_one
    assert two.digest == f"{byte.digest}-{character.digest}"
    alike = Tokenizers.of([Byte().train([]), Byte().train([])])
    assert alike.digest == f"{byte.digest}-{byte.digest}"

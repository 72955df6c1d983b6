import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lightning_tx.core.errors import ConfigError
from lightning_tx.core.group import Choice
from lightning_tx.data.base import DATA, Data, Splits
from lightning_tx.data.batch import IGNORE, BatchSize
from lightning_tx.model.body import MODEL, Body
from lightning_tx.model.build import build_model
from lightning_tx.task.base import TASK
from lightning_tx.task.masked_lm import MaskedCorpus, MaskedLM
from lightning_tx.tokenizer.base import SPECIAL_TOKENS, Tokenizer, TokenizerTrainer
from lightning_tx.tokenizer.byte import Byte
from lightning_tx.tokenizer.character import Character
from lightning_tx.tokenizer.sides import Tokenizers
from tests.model.configs import config, small_model

SENTENCES = [f"{number} and {number + 1} make {2 * number + 1}." for number in range(300)]
SIZES = {"max_seq_len": 16, "batch": BatchSize(sequences=16)}


def trained(trainer: TokenizerTrainer) -> Tokenizer:
    trainer.special_tokens = (*SPECIAL_TOKENS, *MaskedLM.special_tokens)
    return trainer.train(SENTENCES)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> MaskedCorpus:
    splits = Splits(SENTENCES[:250], SENTENCES[250:], [])
    return MaskedLM().prepare(splits, Tokenizers.of([trained(Character())]), tmp_path_factory.mktemp("cache"))


def test_the_commonest_token_is_counted_in_training_text_without_special_tokens(corpus: MaskedCorpus) -> None:
    text = "".join(SENTENCES[:250])
    commonest = max(set(text), key=text.count)
    assert corpus.commonest == trained(Character()).encode(commonest)[0]


def test_training_hides_other_tokens_in_each_epoch_and_resumes(corpus: MaskedCorpus) -> None:
    loader = MaskedLM().train_batches(corpus, **SIZES, seed=1)
    epochs = []
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        epochs.append([(batch.tokens_BT.tolist(), batch.targets_BT.tolist()) for batch in loader])
    assert epochs[0] != epochs[1]
    resumed = MaskedLM().train_batches(corpus, **SIZES, seed=1)
    resumed.set_epoch(1, start=3)
    assert [(batch.tokens_BT.tolist(), batch.targets_BT.tolist()) for batch in resumed] == epochs[1][3:]


def test_evaluation_covers_the_split_and_is_always_the_same(corpus: MaskedCorpus) -> None:
    loader = MaskedLM().eval_batches(corpus, "validation", **SIZES)
    assert loader is not None
    first, second = list(loader), list(loader)
    assert all(torch.equal(a.tokens_BT, b.tokens_BT) for a, b in zip(first, second, strict=True))
    tokens = torch.cat([batch.tokens_BT.flatten() for batch in first])
    targets = torch.cat([batch.targets_BT.flatten() for batch in first])
    original = torch.where(targets == IGNORE, tokens, targets)
    stream = np.asarray(corpus.encoded.validation.tokens)
    assert original[: len(stream)].tolist() == stream.tolist()
    assert len(original) - len(stream) < 16


def test_a_split_that_is_empty_is_not_evaluated(corpus: MaskedCorpus) -> None:
    assert MaskedLM().eval_batches(corpus, "test", **SIZES) is None


def test_options_reach_the_batches(corpus: MaskedCorpus) -> None:
    def share(task: MaskedLM) -> float:
        batches = list(task.train_batches(corpus, **SIZES, seed=0))
        return sum(int(batch.num_targets) for batch in batches) / sum(batch.tokens_BT.numel() for batch in batches)

    assert 0.10 < share(MaskedLM()) < 0.15
    assert 0.35 < share(MaskedLM(mask_fraction=0.5)) < 0.5
    is_letter = corpus.vocabulary.begins_inside_V
    for batch in MaskedLM(whole_words=True).train_batches(corpus, **SIZES, seed=0):
        chosen = (batch.targets_BT != IGNORE).numpy()
        original = np.where(chosen, batch.targets_BT.numpy(), batch.tokens_BT.numpy())
        within = is_letter[original[:, :-1]] & is_letter[original[:, 1:]]
        assert np.array_equal(chosen[:, :-1][within], chosen[:, 1:][within])


def test_loss_and_metrics_are_those_of_a_naive_computation(corpus: MaskedCorpus) -> None:
    task = MaskedLM()
    model = small_model("encoder").requires_grad_(False)
    evaluator = task.evaluator(corpus, "validation")
    losses, right, unigram, count = 0.0, 0, 0, 0
    for batch in task.eval_batches(corpus, "validation", **SIZES) or []:
        evaluator.update(model, batch)
        states = model(
            batch.tokens_BT,
            positions_BT=batch.positions_BT,
            documents_BT=batch.documents_BT,
            token_mask_BT=batch.token_mask_BT,
        ).x
        log_probabilities = F.log_softmax(model.head.logits(states), dim=-1)
        expected = 0.0
        for row in range(batch.tokens_BT.shape[0]):
            for column in range(16):
                target = int(batch.targets_BT[row, column])
                if target != IGNORE:
                    expected -= float(log_probabilities[row, column, target])
                    right += int(log_probabilities[row, column].argmax()) == target
                    unigram += target == corpus.commonest
                    count += 1
        losses += expected
        loss = task.loss(model, batch)
        assert float(loss.sum) == pytest.approx(expected, rel=1e-5)
        assert int(loss.count) == int(batch.num_targets)
    result = evaluator.compute()
    assert result["loss"] == pytest.approx(losses / count, rel=1e-5)
    assert result["perplexity"] == pytest.approx(math.exp(losses / count), rel=1e-4)
    assert result["accuracy"] == pytest.approx(right / count)
    assert result["unigram_accuracy"] == pytest.approx(unigram / count)
    assert unigram > 0


def test_a_diverged_run_has_a_perplexity_too(corpus: MaskedCorpus) -> None:
    evaluator = MaskedLM().evaluator(corpus, "validation")
    model = small_model("encoder").requires_grad_(False)
    for batch in MaskedLM().eval_batches(corpus, "validation", **SIZES) or []:
        evaluator.update(model, batch)
    evaluator.nats *= 1e6
    assert evaluator.compute()["perplexity"] == math.inf


def test_an_encoder_learns_more_than_which_token_is_common(corpus: MaskedCorpus) -> None:
    task = MaskedLM()
    torch.manual_seed(0)
    model = build_model(config("encoder", sizes={"d_model": 32, "d_ff": 64}))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader = task.train_batches(corpus, max_seq_len=16, batch=BatchSize(sequences=32), seed=0)

    def judged() -> dict[str, float]:
        evaluator = task.evaluator(corpus, "validation")
        with torch.no_grad():
            for batch in task.eval_batches(corpus, "validation", **SIZES) or []:
                evaluator.update(model, batch)
        return evaluator.compute()

    before = judged()
    for epoch in range(9):
        loader.set_epoch(epoch)
        for batch in loader:
            loss = task.loss(model, batch)
            (loss.sum / loss.count).backward()
            optimizer.step()
            optimizer.zero_grad()
    after = judged()
    assert after["loss"] < before["loss"] - 1
    assert after["unigram_accuracy"] == before["unigram_accuracy"]
    assert after["accuracy"] > after["unigram_accuracy"] + 0.1


def chosen(model: str = "encoder", data: str = "text_file") -> tuple[Choice[Body], Choice[Data[Any]]]:
    # Choices that are looked at by their classes alone.
    return Choice(MODEL, model, MODEL.get(model), {}), Choice(DATA, data, DATA.get(data), {})


def test_an_encoder_on_single_texts_fits() -> None:
    assert MaskedLM().problems(*chosen()) == []


@pytest.mark.parametrize("model", ["decoder", "encoder_decoder"])
def test_models_that_do_not_fit(model: str) -> None:
    (problem,) = MaskedLM().problems(*chosen(model))
    assert problem.startswith(f"model.name: '{model}' does not read one text from both sides, as task=masked_lm needs.")
    assert "encoder" in problem.partition("Choices: ")[2].rstrip(".").split(", ")
    assert "decoder" not in problem.partition("Choices: ")[2].rstrip(".").split(", ")


def test_pairs_of_texts_do_not_fit() -> None:
    data, model = MaskedLM().problems(*chosen("decoder", "number_words"))
    assert data.startswith("data.name: 'number_words'")
    assert model.startswith("model.name: 'decoder'")


def test_a_tokenizer_without_a_mask(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no token '<mask>'"):
        MaskedLM().prepare(Splits(["text"], ["text"], []), Tokenizers.of([Byte().train([])]), tmp_path)


def test_a_split_with_nothing_to_hide(tmp_path: Path) -> None:
    tokenizer = trained(Character())
    with pytest.raises(ConfigError) as caught:
        MaskedLM().prepare(Splits(["1 and 2"], ["ÜÖ", ""], ["ß"]), Tokenizers.of([tokenizer]), tmp_path)
    assert caught.value.problems == [
        "data.name: the documents of the validation split have no token that could be hidden.",
        "data.name: the documents of the test split have no token that could be hidden.",
    ]


def test_options_are_checked() -> None:
    problems = TASK.problems({"name": "masked_lm", "mask_fraction": 1.0, "whole_words": "yes"})
    assert [problem.partition(":")[0] for problem in problems] == ["task.mask_fraction", "task.whole_words"]

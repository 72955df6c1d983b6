import json
import math
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F

from lightning_tx.cli.compose import compose
from lightning_tx.core import names
from lightning_tx.core.group import Choice
from lightning_tx.data.base import DATA, Data, Splits
from lightning_tx.data.batch import IGNORE, BatchSize
from lightning_tx.data.pairs import PairCorpus
from lightning_tx.decoding.beam import Beam
from lightning_tx.decoding.greedy import Greedy
from lightning_tx.decoding.sample import Sample
from lightning_tx.model.body import MODEL, Body
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.loading import load_run
from lightning_tx.runs.materials import materials_of
from lightning_tx.runs.store import open_store
from lightning_tx.runs.train import train
from lightning_tx.task import translation_quality
from lightning_tx.task.base import TASK
from lightning_tx.task.translation import Translation
from lightning_tx.task.translation_quality import TABLE_ROWS, TranslationQuality
from lightning_tx.tokenizer.byte import Byte
from lightning_tx.tokenizer.character import Character
from lightning_tx.tokenizer.sides import Tokenizers
from lightning_tx.training.checkpoint import Checkpoints
from tests.decoding.models import continued
from tests.model.configs import small_model
from tests.tiny import problems_of_run

SENTENCES = [(f"{n} and {n + 1}", f"make {2 * n + 1}." + " Indeed!" * (n % 4)) for n in range(1, 90)]
SPLITS = Splits(SENTENCES[:60], SENTENCES[60:], [])
SIZES: dict[str, Any] = {"max_seq_len": 48, "batch": BatchSize(sequences=8)}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> PairCorpus:
    tokenizer = Character().train([text for pair in SENTENCES for text in pair])
    return Translation().prepare(SPLITS, Tokenizers.of([tokenizer]), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def model(corpus: PairCorpus) -> Body:
    sizes = {"vocab_size": corpus.tokenizer.vocab_size, "max_seq_len": 48}
    return small_model("encoder_decoder", sizes=sizes, positions="sinusoidal")


def chosen(
    data: str = "number_words", model: str = "encoder_decoder", **options: Any
) -> tuple[Choice[Body], Choice[Data[Any]]]:
    parsed = MODEL.parse({"name": model, **options})
    return parsed, Choice(DATA, data, DATA.get(data), {})


class TestFit:
    def test_pairs_and_a_model_of_two_inputs_fit(self) -> None:
        assert Translation().problems(*chosen()) == []
        assert Translation(joint_vocabulary=False).problems(*chosen(share_embeddings=False)) == []

    @pytest.mark.parametrize(
        ("choice", "sentence"),
        [
            (
                chosen(data="text_file"),
                "data.name: 'text_file' does not hold pairs of texts, as the task needs. "
                "Choices: hf_dataset, number_words, parallel_files.",
            ),
            (chosen(model="decoder"), "model.name: 'decoder' reads one text, but task=translation has a source and"),
            (chosen(model="encoder"), "model.name: 'encoder' reads one text, but task=translation has a source and"),
        ],
    )
    def test_other_data_and_models_do_not(self, choice: tuple[Any, Any], sentence: str) -> None:
        (problem,) = Translation().problems(*choice)
        assert problem.startswith(sentence)

    @pytest.mark.parametrize("options", [{}, {"share_embeddings": True}])
    def test_two_vocabularies_need_two_embeddings(self, options: dict[str, Any]) -> None:
        (problem,) = Translation(joint_vocabulary=False).problems(*chosen(**options))
        assert problem.startswith("model.share_embeddings: true needs one vocabulary for both sides; set it to false")

    def test_all_that_does_not_fit_is_said(self) -> None:
        problems = Translation().problems(*chosen(data="text_file", model="decoder"))
        assert [problem.partition(":")[0] for problem in problems] == ["data.name", "model.name"]

    @pytest.mark.parametrize("task", ["causal_lm", "masked_lm"])
    def test_tasks_of_single_texts_refuse_pairs(self, task: str) -> None:
        problems = TASK.create({"name": task}).problems(*chosen())
        assert [problem.partition(":")[0] for problem in problems] == ["data.name", "model.name"]


def test_a_joint_tokenizer_sees_both_sides_of_training() -> None:
    (texts,) = Translation().tokenizer_texts(SPLITS)
    assert texts == [text for pair in SENTENCES[:60] for text in pair]


def test_separate_tokenizers_see_a_side_each() -> None:
    sources, targets = Translation(joint_vocabulary=False).tokenizer_texts(SPLITS)
    assert list(zip(sources, targets, strict=True)) == SENTENCES[:60]


def test_the_metric_to_select_by_is_chosen_with_its_direction() -> None:
    chosen = {name: Translation(select_by=name) for name in ("bleu", "chrf", "exact_match", "loss")}
    assert {name: task.primary for name, task in chosen.items()} == {name: name for name in chosen}
    assert [task.direction for task in chosen.values()] == ["max", "max", "max", "min"]
    assert Translation().primary == "bleu"


def test_with_two_tokenizers_the_last_is_the_targets(tmp_path: Path) -> None:
    source, target = Byte().train([]), Character().train([text for _, text in SENTENCES])
    corpus = Translation(joint_vocabulary=False).prepare(SPLITS, Tokenizers(source, target), tmp_path)
    assert corpus.tokenizer is target
    batch = next(iter(Translation().eval_batches(corpus, "validation", **SIZES) or []))
    text, written = SENTENCES[60 + int(batch.examples_B[0])]
    assert source.decode(batch.source_BS[0].tolist()) == text
    assert target.decode(batch.tokens_BT[0].tolist()) == written


def test_counts_say_what_is_too_long(corpus: PairCorpus) -> None:
    limit = 20
    long = [max(len(source), len(target)) + 1 > limit for source, target in SENTENCES]
    assert Translation().counts(corpus, max_seq_len=limit) == {
        "train_pairs": 60 - sum(long[:60]),
        "train_skipped_by_max_seq_len": sum(long[:60]),
        "validation_cut_to_max_seq_len": sum(long[60:]),
        "test_cut_to_max_seq_len": 0,
    }


def test_a_split_that_is_empty_is_not_evaluated(corpus: PairCorpus) -> None:
    assert Translation().eval_batches(corpus, "test", **SIZES) is None


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_that_of_torch(corpus: PairCorpus, model: Body, smoothing: float) -> None:
    task = Translation(label_smoothing=smoothing)
    for batch in list(task.train_batches(corpus, **SIZES, seed=0))[:4]:
        loss = task.loss(model, batch)
        logits = model.head.logits(
            model(batch.source_BS, batch.tokens_BT, source_token_mask_BS=batch.source_token_mask_BS).x
        )
        expected = F.cross_entropy(
            logits.flatten(0, 1), batch.targets_BT.flatten(), label_smoothing=smoothing, reduction="sum"
        )
        torch.testing.assert_close(loss.sum, expected, rtol=1e-12, atol=0)
        assert loss.count == (batch.targets_BT != IGNORE).sum()
        own = torch.autograd.grad(loss.sum, model.parameters(), allow_unused=True)
        theirs = torch.autograd.grad(expected, model.parameters(), allow_unused=True)
        for mine, their in zip(own, theirs, strict=True):
            torch.testing.assert_close(mine, their, rtol=1e-9, atol=1e-10)


def test_the_loss_of_a_pair_does_not_depend_on_those_beside_it(corpus: PairCorpus, model: Body) -> None:
    task = Translation()

    def total(size: int) -> float:
        batches = task.eval_batches(corpus, "validation", max_seq_len=48, batch=BatchSize(sequences=size))
        return sum(task.loss(model, batch).sum.item() for batch in batches or [])

    assert total(1) == pytest.approx(total(7), rel=1e-12) == pytest.approx(total(100), rel=1e-12)


def filled(evaluator: Any, model: Any, batches: Any) -> Any:
    with torch.inference_mode():
        for batch in batches:
            evaluator.update(model, batch)
    return evaluator


def validation(corpus: PairCorpus, size: int) -> list[Any]:
    batches = Translation().eval_batches(corpus, "validation", max_seq_len=48, batch=BatchSize(sequences=size))
    assert batches is not None
    return list(batches)


@pytest.fixture(scope="module")
def expected(corpus: PairCorpus, model: Body) -> list[str]:
    tokenizer = corpus.tokenizer
    lines = []
    for source, _ in SENTENCES[60:66]:
        ids = [*tokenizer.encode(source), tokenizer.eos_id]
        limit = min(int(0.5 * len(ids)) + 10, 48)
        tokens, _, _ = continued(model, ids, limit, lambda scores, _: int(scores.argmax()))
        lines.append(tokenizer.decode(tokens))
    return lines


class TestOutputs:
    """Of the model: those of decoding one sentence at a time without a cache, whatever the batches are."""

    @pytest.mark.parametrize(("size", "order"), [(1, 1), (5, 1), (5, -1), (64, 1)])
    def test_they_are_in_the_order_of_the_split(
        self, corpus: PairCorpus, model: Body, expected: list[str], size: int, order: int
    ) -> None:
        task = Translation(validation_sentences=6, max_length_ratio=0.5)
        evaluator = filled(task.evaluator(corpus, "validation"), model, validation(corpus, size)[::order])
        files = evaluator.files()
        assert files["output.txt"].splitlines() == expected
        assert files["source.txt"].splitlines() == [source for source, _ in SENTENCES[60:66]]
        assert files["reference.txt"].splitlines() == [target for _, target in SENTENCES[60:66]]

    def test_the_likelihood_is_over_all_of_the_split_and_not_smoothed(self, corpus: PairCorpus, model: Body) -> None:
        evaluator = Translation(validation_sentences=1, label_smoothing=0.5).evaluator(corpus, "validation")
        numbers = filled(evaluator, model, validation(corpus, 8)).compute()
        sums = [Translation(label_smoothing=0.0).loss(model, batch) for batch in validation(corpus, 8)]
        mean = sum(loss.sum.item() for loss in sums) / sum(int(loss.count) for loss in sums)
        assert numbers["loss"] == pytest.approx(mean, rel=1e-12)
        assert numbers["perplexity"] == pytest.approx(torch.tensor(mean).exp().item(), rel=1e-5)

    def test_they_end_at_the_ratio_and_ten_more(self, corpus: PairCorpus, model: Body) -> None:
        task = Translation(max_length_ratio=0.5)
        assert [task.max_new_tokens(length, 48) for length in (1, 2, 7, 40)] == [10, 11, 13, 30]
        evaluator: Any = filled(task.evaluator(corpus, "validation"), model, validation(corpus, 8))
        # A character of this tokenizer is a token; a model that knows nothing seldom ends by itself.
        lengths = {SENTENCES[60 + example][0]: len(text) for example, text in evaluator.outputs.items()}
        limits = {source: task.max_new_tokens(len(source) + 1, 48) for source in lengths}
        assert all(lengths[source] <= limit for source, limit in limits.items())
        assert any(lengths[source] == limit for source, limit in limits.items())

    def test_what_they_took_is_told(self, corpus: PairCorpus, model: Body) -> None:
        evaluator = filled(
            Translation(validation_sentences=3).evaluator(corpus, "validation"), model, validation(corpus, 8)
        )
        timing = evaluator.timing()
        assert set(timing) == {"seconds_to_first_token", "seconds_per_token", "tokens_per_second", "cache_bytes"}
        assert all(value > 0 for value in timing.values())

    def test_reset_forgets(self, corpus: PairCorpus, model: Body) -> None:
        evaluator = filled(
            Translation(validation_sentences=3).evaluator(corpus, "validation"), model, validation(corpus, 8)
        )
        first = evaluator.compute()
        evaluator.reset()
        assert evaluator.outputs == {} and int(evaluator.targets) == 0
        assert filled(evaluator, model, validation(corpus, 8)).compute() == first

    def test_training_mode_and_weights_stay(self, corpus: PairCorpus, model: Body) -> None:
        model.train()
        filled(Translation(validation_sentences=2).evaluator(corpus, "validation"), model, validation(corpus, 8)[-1:])
        assert model.training
        model.eval()

    def test_at_the_end_all_sentences_are_decoded_as_asked(self, corpus: PairCorpus) -> None:
        task, beam = Translation(validation_sentences=6), Beam()
        interim, final = task.evaluator(corpus, "validation"), task.final_evaluator(corpus, "validation", beam)
        assert isinstance(interim, TranslationQuality) and isinstance(final, TranslationQuality)
        assert len(interim.pairs) == 6 and isinstance(interim.decoding, Greedy)
        assert len(final.pairs) == 29 and final.decoding is beam
        everything = Translation(validation_sentences=None).evaluator(corpus, "validation")
        assert isinstance(everything, TranslationQuality) and len(everything.pairs) == 29


#: What scorers and line ends stumble over: entities, quotes, other scripts, case, numbers, blanks.
WORDS = [
    *["the", "a", "dog", "dogs", "Hund", "runs,", "läuft", ".", "...", "1,000.5", "3%", "&quot;", "&amp;", '"quoted"'],
    *["it's", "über-groß", "日本語", "中文", "naïve", "—", "–", "€", "|", "||", "\\|", "<b>", "I'm", "New-York"],
    *["x\u00a0y", "\u200b"],
]


def scripted(
    outputs: list[str], references: list[str], monkeypatch: pytest.MonkeyPatch, *, tokenize: str = "13a"
) -> TranslationQuality:
    """The evaluator after these outputs, handed in by the numbers that are their sources, in random order."""
    spoken = [f"\n{output}" for output in outputs]  # one more token than any output has: the number's place
    monkeypatch.setattr(
        translation_quality,
        "generate",
        lambda _, sources, *__, **___: SimpleNamespace(sequences=[[source[0]] for source in sources]),
    )
    monkeypatch.setattr(translation_quality, "cross_entropy_sum", lambda *_: torch.tensor(1.0))
    tokenizer: Any = SimpleNamespace(
        bos_id=1, eos_id=2, pad_id=0, decode=lambda sequence: spoken[sequence[0]].removeprefix("\n")
    )
    pairs = [(f"source {number}", reference) for number, reference in enumerate(references)]
    evaluator = TranslationQuality(pairs, tokenizer, Greedy(), max_new_tokens=max, tokenize=tokenize)
    numbers = list(range(len(pairs)))
    random.Random(0).shuffle(numbers)
    model: Any = Mock(return_value=SimpleNamespace(x=None), max_seq_len=64)
    for start in range(0, len(numbers), 7):
        chosen = torch.tensor(numbers[start : start + 7])
        batch: Any = SimpleNamespace(
            source_BS=chosen[:, None],
            tokens_BT=None,
            targets_BT=None,
            examples_B=chosen,
            source_token_mask_BS=None,
            num_targets=torch.tensor(len(chosen)),
        )
        evaluator.update(model, batch)
    return evaluator


def sentences(seed: int, count: int = 60) -> tuple[list[str], list[str]]:
    """References, and outputs that share some of their words; one output is empty and one is right."""
    draw = random.Random(seed)
    references = [" ".join(draw.choices(WORDS, k=draw.randrange(1, 14))) for _ in range(count)]
    outputs = [
        " ".join(draw.choice(WORDS) if draw.random() < 0.2 else word for word in reference.split(" "))
        for reference in references
    ]
    outputs[3], outputs[5] = "", references[5]
    return outputs, references


def command(folder: Path, *more: str) -> list[dict[str, Any]]:
    """What the ``sacrebleu`` command prints for files in a folder."""
    names = ["reference.txt", "-i", "output.txt", "-m", "bleu", "chrf", "-w", "2"]
    printed = subprocess.run(
        [sys.executable, "-m", "sacrebleu", *names, *more], cwd=folder, capture_output=True, check=True, text=True
    )
    return json.loads(printed.stdout)


@pytest.mark.parametrize("tokenize", ["13a", "none", "intl"])
def test_scores_are_those_that_the_command_prints_for_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenize: str
) -> None:
    evaluator = scripted(*sentences(1), monkeypatch, tokenize=tokenize)
    for name, text in evaluator.files().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    numbers, scores = evaluator.compute(), json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    for printed in command(tmp_path, "--tokenize", tokenize):
        name = {"BLEU": "bleu", "chrF2": "chrf"}[printed["name"]]
        assert f"{numbers[name]:.2f}" == f"{printed['score']:.2f}"
        assert scores[name]["score"] == numbers[name]
        assert scores[name]["signature"] == printed["signature"]
        assert 5 < numbers[name] < 99


def test_an_exact_match_is_an_equal_line(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = ["a b", "a b ", "A b", "", "x", "c\nd"]
    references = ["a b", "a b", "a b", "", "y", "c d"]
    assert scripted(outputs, references, monkeypatch).compute()["exact_match"] == 3 / 6


def test_every_file_has_a_line_for_each_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written or referred to: a line more would compare every following sentence with another one."""
    outputs, references = sentences(2, 12)
    for place, end in enumerate(("\n", "\r", "\r\n", "\x85", "\u2028", "\x0b")):
        outputs[place] += f"{end}new{end}"
        references[-1 - place] = f"old{end}line"
    evaluator = scripted(outputs, references, monkeypatch)
    files = evaluator.files()
    for name in ("source.txt", "output.txt", "reference.txt"):
        assert files[name].endswith("\n") and len(files[name].splitlines()) == 12, name
    assert files["reference.txt"].splitlines()[-1] == "old line"


def test_the_tables_show_the_best_and_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    # Output n shares its first words with the reference, the more the greater n is.
    references = [" ".join(words)] * 60
    outputs = [" ".join([*words[: number // 6], *["other"] * (10 - number // 6)]) for number in range(60)]
    outputs[59] = " ".join(words)
    outputs[7] = "a | b"
    table = scripted(outputs, references, monkeypatch).files()["sentences.md"]
    best, worst = table.split("## ")[1:]
    assert best.startswith("Best by sentence BLEU") and worst.startswith("Worst by sentence BLEU")
    rows = [[line for line in part.splitlines() if line.startswith("| ")][1:] for part in (best, worst)]
    assert [len(part) for part in rows] == [TABLE_ROWS, TABLE_ROWS]
    assert rows[0][0] == f"| 100.0 | source 59 | {outputs[59]} | {references[59]} |"
    scores = [[float(row.split("|")[1]) for row in part] for part in rows]
    assert scores[0] == sorted(scores[0], reverse=True) and scores[1] == sorted(scores[1])
    assert scores[0][-1] > 40 > scores[1][-1] and scores[1][0] < 1
    assert any("a \\| b" in row for row in rows[1])
    assert "eff:yes" in table.splitlines()[-1]


def test_fewer_sentences_than_a_table_has_rows_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    table = scripted(["a b", "c"], ["a b", "d"], monkeypatch).files()["sentences.md"]
    assert table.count("| a b | a b |") == 2


@pytest.mark.parametrize("joint", [True, False])
def test_a_run_is_trained_decoded_recorded_and_rebuilt(root: Path, tmp_path: Path, joint: bool) -> None:
    """Averaged weights, both ways to share a vocabulary, and files whose scores are those of the record."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name, pairs in (("train", SENTENCES[:70]), ("val", SENTENCES[70:]), ("test", SENTENCES[:5])):
        for side, language in enumerate(("en", "de")):
            lines = "".join(f"{pair[side]}\n" for pair in pairs)
            (folder / f"{name}.{language}").write_text(lines, encoding="utf-8")
    overrides = [
        *["task=translation", "data=parallel_files", f"data.path={folder}", "data.source=en", "data.target=de"],
        *["data.test=test", "tokenizer=character", "model=encoder_decoder", "model.d_model=16", "model.num_heads=2"],
        *["model.num_encoder_layers=1", "model.num_decoder_layers=1", "model.max_seq_len=64", "decoding=beam"],
        *["trainer.max_steps=4", "trainer.val_every=2", "trainer.average=2", "trainer.batch_size=null"],
        *["trainer.batch_tokens=600", "trainer.accelerator=cpu", "trainer.precision=32", "task.validation_sentences=3"],
        *[f"task.joint_vocabulary={joint}", f"model.share_embeddings={joint}", f"root={root}"],
    ]
    config = compose(overrides)
    assert problems_of_run(config) == []
    store = open_store(config)
    record = train(RunConfig.parse(config), name="tiny", labels={}, store=store)
    assert record.status == "FINISHED" and record.tags[names.METRIC] == "last/bleu"
    assert {"val/bleu", "last/chrf", "last_test/bleu", "best/exact_match", "test/loss"} <= set(record.metrics)
    for split, count in (("best", 19), ("test", 5)):
        written = {
            name: store.artifact_path(record.run_id, f"{split}/{name}").read_text(encoding="utf-8")
            for name in ("source.txt", "output.txt", "reference.txt", "scores.json")
        }
        assert [written[name].count("\n") for name in ("source.txt", "output.txt", "reference.txt")] == [count] * 3
        assert json.loads(written["scores.json"])["bleu"]["score"] == pytest.approx(record.metrics[f"{split}/bleu"])
    loaded = load_run(record.run_id, root=root)
    assert loaded.tokenizers.is_one == joint
    assert loaded.tokenizers.source.decode(loaded.tokenizers.source.encode("1 and 2")) == "1 and 2"
    assert loaded.tokenizers.target.decode(loaded.tokenizers.target.encode("make 3.")) == "make 3."
    model: Any = loaded.model
    assert (model.source_embedding is model.token_embedding) == joint


@pytest.mark.parametrize("decoding", [Greedy(), Sample(), Beam()])
def test_a_model_of_no_numbers_writes_nothing(corpus: PairCorpus, decoding: Any) -> None:
    sizes = {"vocab_size": corpus.tokenizer.vocab_size, "max_seq_len": 48}
    model = small_model("encoder_decoder", sizes=sizes, positions="sinusoidal").eval()
    torch.nn.init.constant_(model.token_embedding.weight, math.nan)
    task = Translation()
    evaluator: Any = task.final_evaluator(corpus, "validation", decoding)
    for batch in task.eval_batches(corpus, "validation", **SIZES) or []:
        evaluator.update(model, batch)
    numbers = evaluator.compute()
    assert set(numbers) == set(task.measures) and all(math.isnan(value) for value in numbers.values())
    assert evaluator.files() == evaluator.timing() == {}


def test_a_run_is_compared_by_its_last_weights_decoded_in_full(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first validation is made the best, so that the last weights are others."""
    overrides = [
        *["task=translation", "task.select_by=loss", "data=number_words", "data.size=200", "tokenizer=character"],
        *["model=encoder_decoder", "model.d_model=16", "model.num_heads=2", "model.num_encoder_layers=1"],
        *["model.num_decoder_layers=1", "model.max_seq_len=64", "trainer.max_steps=4", "trainer.val_every=2"],
        *["trainer.batch_size=8", "trainer.accelerator=cpu", "task.validation_sentences=3", f"root={root}"],
    ]
    config = compose(overrides)
    monkeypatch.setattr(Checkpoints, "_is_better", lambda *_: False)
    decoded: list[int] = []
    original = translation_quality.generate
    monkeypatch.setattr(
        translation_quality, "generate", lambda *args, **named: decoded.append(len(args[1])) or original(*args, **named)
    )
    store = open_store(config)
    record = train(RunConfig.parse(config), name="tiny", labels={}, store=store)
    metrics, splits = record.metrics, materials_of(RunConfig.parse(config)).splits
    assert (metrics["best/step"], metrics["last/step"]) == (2, 4)
    assert metrics["last/loss"] == pytest.approx(metrics["val/loss"]) and metrics["last/loss"] != metrics["best/loss"]
    assert metrics["last_test/loss"] != metrics["test/loss"]
    # Three sentences at each of two validations, then both splits with both weights.
    assert sum(decoded) == 2 * 3 + 2 * (len(splits.validation) + len(splits.test))
    assert not any(name.startswith("last") for name in store.artifacts(record.run_id))


def test_padding_of_either_side_goes_to_no_expert(corpus: PairCorpus) -> None:
    sizes = {"vocab_size": corpus.tokenizer.vocab_size, "max_seq_len": 48}
    model = small_model("encoder_decoder", sizes=sizes, feed_forward={"name": "moe", "num_experts": 4, "top_k": 2})
    batches: Any = Translation().train_batches(corpus, **SIZES, seed=0)
    batch = next(batch for batch in batches if batch.source_token_mask_BS is not None)
    stats = Translation().loss(model, batch).stats
    for stack, mask in {"encoder": batch.source_token_mask_BS, "decoder": batch.targets_BT != IGNORE}.items():
        assert not mask.all()
        assert stats[f"{stack}.1.feed_forward/load"].count == stats[f"{stack}.1.feed_forward/load"].sum.sum()
        assert stats[f"{stack}.1.feed_forward/load"].count == 2 * mask.sum()

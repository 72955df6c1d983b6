"""Configs as they are published: keys that change no number are passed over, those that do are refused by name."""

from types import ModuleType
from typing import Any

import pytest
import transformers

from lightning_tx.core.errors import ConfigError
from lightning_tx.model.interop import bert, gpt2, llama, marian, mixtral, t5

#: By family: its module, transformers' class of its configs, and keys that published configs have besides.
FAMILIES: list[tuple[ModuleType, str, dict[str, Any]]] = [
    (bert, "BertConfig", {"directionality": "bidi", "pooler_fc_size": 768, "pooler_type": "first_token_transform"}),
    (gpt2, "GPT2Config", {"_num_labels": 1, "n_ctx": 1024, "predict_special_tokens": True}),
    (llama, "LlamaConfig", {"max_sequence_length": 2048, "pretraining_tp": 1}),
    (marian, "MarianConfig", {"_num_labels": 3, "classif_dropout": 0.1, "static_position_embeddings": True}),
    (mixtral, "MixtralConfig", {"output_router_logits": False}),
    (t5, "T5Config", {"output_past": True, "n_positions": 512}),
]


@pytest.mark.parametrize(("family", "name", "besides"), FAMILIES)
def test_a_published_config_fits(family: ModuleType, name: str, besides: dict[str, Any]) -> None:
    plain = getattr(transformers, name)().to_dict()
    assert family.config({**plain, **besides}) == family.config(plain)


@pytest.mark.parametrize(("family", "name", "besides"), FAMILIES)
def test_a_key_that_is_not_known_to_change_nothing_is_refused(
    family: ModuleType, name: str, besides: dict[str, Any]
) -> None:
    plain = getattr(transformers, name)().to_dict()
    with pytest.raises(ConfigError, match=r"hf_config.logit_cap: 30 is not supported"):
        family.config({**plain, **besides, "logit_cap": 30})

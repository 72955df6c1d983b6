"""A Hugging Face config, read key by key: what is not read must be known not to matter."""

from collections.abc import Mapping
from typing import Any, TypeVar

from lightning_tx.core.errors import ConfigError

T = TypeVar("T")

_BOOKKEEPING = """
    _attn_implementation _attn_implementation_autoset _commit_hash _name_or_path architectures auto_map dtype
    finetuning_task id2label label2id model_type name_or_path output_attentions output_hidden_states problem_type
    return_dict task_specific_params tokenizer_class torch_dtype torchscript transformers_version use_cache
    _experts_implementation _num_labels chunk_size_feed_forward gradient_checkpointing num_labels output_past
"""
_SPECIAL_TOKENS = """
    bos_token_id cls_token_id decoder_start_token_id eos_token_id mask_token_id pad_token_id sep_token_id
"""
_GENERATION = """
    bad_words_ids begin_suppress_tokens decoder_bos_token_id diversity_penalty do_sample early_stopping
    encoder_no_repeat_ngram_size exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id
    length_penalty max_length max_new_tokens min_length no_repeat_ngram_size num_beam_groups num_beams
    num_return_sequences output_scores prefix remove_invalid_values repetition_penalty return_dict_in_generate
    suppress_tokens temperature top_k top_p typical_p
"""
#: Settings that do not change what the model computes.
_WITHOUT_EFFECT = frozenset(" ".join([_BOOKKEEPING, _SPECIAL_TOKENS, _GENERATION]).split())

#: Our feed-forwards of two matrices, by what transformers calls their activation.
PLAIN_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


class Settings:
    """The settings of one model, and everything that was wrong with them.

    Args:
        hf_config: the content of a ``config.json``.
        model_type: the family it must be of.
        ignored: further keys, separated by spaces, that do not change what this family computes.
    """

    def __init__(self, hf_config: Mapping[str, Any], model_type: str, *, ignored: str = "") -> None:
        self._values = hf_config
        self._model_type = model_type
        self._known = {*_WITHOUT_EFFECT, *ignored.split()}
        self._problems: list[str] = []
        self.only("model_type", model_type)

    def get(self, key: str, default: Any) -> Any:
        """The value of a key; ``default`` where it is missing or null."""
        self._known.add(key)
        value = self._values.get(key)
        return default if value is None else value

    def choice(self, key: str, options: Mapping[str, T], default: str) -> T:
        """What a key's value stands for; any value that is not among the options is refused."""
        value = self.get(key, default)
        if value in options:
            return options[value]
        self.refuse(key, value, *options)
        return options[default]

    def only(self, key: str, *allowed: Any) -> None:
        """Refuse a key that is neither missing or null nor one of these values."""
        value = self.get(key, None)
        if value is not None and value not in allowed:
            self.refuse(key, value, *allowed)

    def refuse(self, key: str, value: Any, *allowed: Any) -> None:
        """Remember that a key has a value that our parts cannot follow."""
        options = ", ".join(map(repr, allowed)) or "missing or null"
        self._problems.append(
            f"hf_config.{key}: {value!r} is not supported for {self._model_type}. Choices: {options}."
        )

    def finish(self) -> None:
        """To be called when all is read.

        Raises:
            ConfigError: with every value that was refused, and every key that is set and that nobody has asked for.
        """
        for key, value in self._values.items():
            if key not in self._known and value:  # what is null, false, 0 or empty is switched off
                self.refuse(key, value)
        if self._problems:
            raise ConfigError(self._problems)

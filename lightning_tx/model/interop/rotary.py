"""How Hugging Face configs describe rotary positions."""

from typing import Any

from lightning_tx.model.interop.settings import Settings

#: For each ``rope_type`` our component, and its options by their names there.
_KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "default": ("rope", {}),
    "linear": ("rope_linear", {"factor": "factor"}),
    "llama3": (
        "rope_llama3",
        {
            "factor": "factor",
            "low_freq_factor": "low_freq_factor",
            "high_freq_factor": "high_freq_factor",
            "original_max_position_embeddings": "original_max_seq_len",
        },
    ),
    "yarn": (
        "rope_yarn",
        {
            "factor": "factor",
            "beta_fast": "beta_fast",
            "beta_slow": "beta_slow",
            "attention_factor": "attention_factor",
            "truncate": "truncate",
            "original_max_position_embeddings": "original_max_seq_len",
        },
    ),
}


def rotary(settings: Settings) -> dict[str, Any]:
    """The config of our ``positions``: from ``rope_parameters``, or from ``rope_theta`` and ``rope_scaling`` of old."""
    settings.only("rope_interleaved", False)
    settings.only("partial_rotary_factor", 1.0)
    key = "rope_scaling" if settings.get("rope_parameters", None) is None else "rope_parameters"
    described = {option: value for option, value in settings.get(key, {}).items() if value is not None}
    old_kind = described.pop("type", "default")
    kind = described.pop("rope_type", old_kind)
    base = described.pop("rope_theta", settings.get("rope_theta", 10_000.0))
    if kind not in _KINDS:
        settings.refuse(f"{key}.rope_type", kind, *_KINDS)
        kind = "default"
    name, options = _KINDS[kind]
    if "factor" in options and "factor" not in described:
        settings.refuse(f"{key}.factor", None, "a number")
    found = {"name": name, "base": base}
    found |= {ours: described.pop(theirs) for theirs, ours in options.items() if theirs in described}
    fraction = described.pop("partial_rotary_factor", 1.0)
    if fraction != 1.0:
        settings.refuse(f"{key}.partial_rotary_factor", fraction, 1.0)
    for option, value in described.items():
        settings.refuse(f"{key}.{option}", value)
    return found

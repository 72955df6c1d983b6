import pytest

from lightning_tx.core.errors import ConfigError
from lightning_tx.tokenizer.base import TOKENIZER


def test_it_is_trained_by_another_run() -> None:
    with pytest.raises(ConfigError, match="tokenizer: base is trained by another run; name it: init_from=RUN"):
        TOKENIZER.create({"name": "base"}).train(["text"])

import pytest
import torch

from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.cache import Cache
from lightning_tx.model.generation import left_padded, right_padded
from lightning_tx.model.packed import packed_linears
from tests.model.configs import small_model, tokens

DEVICE = torch.device("cpu")


def test_rows_end_together_or_start_together() -> None:
    ids, mask = left_padded([[1, 2, 3], [4]], 9, DEVICE)
    assert ids.tolist() == [[1, 2, 3], [9, 9, 4]]
    assert mask is not None and mask.int().tolist() == [[1, 1, 1], [0, 0, 1]]
    ids, mask = right_padded([[1, 2, 3], [4], []], 9, DEVICE)
    assert ids.tolist() == [[1, 2, 3], [4, 9, 9], [9, 9, 9]]
    assert mask is not None and mask.int().tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]


def test_rows_of_one_length_need_no_mask() -> None:
    assert left_padded([[1, 2], [3, 4]], 9, DEVICE)[1] is None
    assert right_padded([[1, 2], [3, 4]], 9, DEVICE)[1] is None
    assert right_padded([[]], 9, DEVICE)[0].shape == (1, 1)


@torch.inference_mode()
def test_several_tokens_at_once_are_one_after_the_other() -> None:
    for topology in ("decoder", "encoder_decoder"):
        model = small_model(topology)
        at_once, one_by_one = (model.begin([[3, 4, 5], [6]], bos_id=1, pad_id=0) for _ in range(2))
        new = tokens(2, 3)
        for step in range(3):
            last = one_by_one.step(new[:, step : step + 1])
        torch.testing.assert_close(at_once.step(new), last, rtol=0, atol=1e-10)
        assert at_once.num_rows == 2 and at_once.cache_bytes == one_by_one.cache_bytes > 0


@torch.inference_mode()
def test_ids_that_stand_for_nothing_have_no_score() -> None:
    model = small_model("decoder")  # 50 ids in 64 rows
    logits = model.begin([[3]], bos_id=1, pad_id=0).logits_BV[0]
    assert logits.shape == (64,)
    assert logits.isneginf().nonzero()[:, 0].tolist() == [0, 1, *range(50, 64)]


def test_a_cache_that_outgrows_the_positions_says_so() -> None:
    model, cache = small_model("decoder", positions="learned"), Cache()
    with torch.inference_mode():
        for _ in range(16):
            model(torch.tensor([[3]]), cache=cache)
        with pytest.raises(ConfigError, match=r"16 positions \(model\.max_seq_len\).*17 tokens"):
            model(torch.tensor([[3]]), cache=cache)


def test_packed_linears_give_the_same_and_leave_nothing_behind() -> None:
    model = small_model("decoder").float()
    model.stack.layers[0].sublayers["self_attention"].q_proj.bias = torch.nn.Parameter(torch.randn(16))
    ids = tokens(2, 7)
    with torch.inference_mode():
        expected = model.head.logits(model(ids).x)
        with packed_linears(model, rows=10**6):
            assert "forward" in vars(model.lm_head)
            packed = model.head.logits(model(ids).x)
    torch.testing.assert_close(packed, expected, rtol=1e-4, atol=1e-4)
    assert all("forward" not in vars(module) for module in model.modules())

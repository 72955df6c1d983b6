"""The gated delta rule: a recurrence over tokens, computed chunk by chunk in matrix products.

B batch, H heads, T tokens, K width of a key, V width of a value, N chunks, C tokens of a chunk.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_tx.kernels.autocast import without_autocast

CHUNK = 64


def gated_delta_rule(
    q_BHTK: Tensor,
    k_BHTK: Tensor,
    v_BHTV: Tensor,
    log_decay_BHT: Tensor,
    rate_BHT: Tensor,
    state_BHKV: Tensor | None = None,
    *,
    starts_BT: Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """``S_t = a_t S_(t-1) + b_t k_t (v_t - (a_t S_(t-1))ᵀ k_t)ᵀ`` and ``o_t = S_tᵀ q_t``, in float32 at least.

    What the state holds under a key is moved towards the value by the rate b, after all of it has decayed by a. Inside
    a chunk the corrections of its tokens solve a triangular system; only the state goes from chunk to chunk, so that
    time grows with T.

    Source: Yang et al. 2024, arXiv:2412.06464, section 3.3; the triangular form: Yang et al. 2024, arXiv:2406.06484.

    Args:
        q_BHTK: queries.
        k_BHTK: keys, of length 1 at most.
        v_BHTV: values.
        log_decay_BHT: ``log a``, 0 at most.
        rate_BHT: ``b``. A token with the rate 0 and the log-decay 0 leaves the state as it is.
        state_BHKV: what earlier tokens left; None for zeros.
        starts_BT: True where a token must know nothing of those before it; None for nowhere.
        chunk: tokens of a chunk (C).

    Returns:
        The outputs [B, H, T, V] and the state [B, H, K, V] after the last token.
    """
    dtype = torch.promote_types(v_BHTV.dtype, torch.float32)
    length, chunk = v_BHTV.shape[2], min(chunk, v_BHTV.shape[2])
    spare = -length % chunk

    def chunked(x: Tensor) -> Tensor:
        """[B, H, T, ...] to [B, H, N, C, ...], filled up with zeros, which change no state."""
        return F.pad(x.to(dtype), (0, 0) * (x.dim() - 3) + (0, spare)).unflatten(2, (-1, chunk))

    with without_autocast(v_BHTV.device):
        q, k, v, rate = map(chunked, (q_BHTK, k_BHTK, v_BHTV, rate_BHT[..., None]))
        decayed = chunked(log_decay_BHT).cumsum(dim=-1)
        seen = torch.ones(chunk, chunk, dtype=torch.bool, device=v.device).tril()
        between = decayed[..., :, None] - decayed[..., None, :]
        from_start, to_end = decayed.exp(), (decayed[..., -1:] - decayed).exp()
        if starts_BT is not None:
            part = F.pad(starts_BT, (0, spare)).unflatten(1, (-1, chunk)).cumsum(dim=-1)[:, None]
            seen = seen & (part[..., :, None] == part[..., None, :])
            from_start = from_start * (part == 0)
            to_end = to_end * (part == part[..., -1:])
        # Masked before it is raised: what lies ahead has not decayed but grown.
        decay = between.masked_fill(~seen, float("-inf")).exp()
        system = (k * rate @ k.mT * decay).tril(-1)  # and ones on the diagonal
        sides = torch.cat([v * rate, k * rate * from_start[..., None]], dim=-1)
        solved = torch.linalg.solve_triangular(system, sides, upper=False, unitriangular=True)
        by_tokens, by_state = solved.split([v.shape[-1], k.shape[-1]], dim=-1)
        scores, q, k = q @ k.mT * decay, q * from_start[..., None], (k * to_end[..., None]).mT
        state = v.new_zeros(*q.shape[:2], q.shape[-1], v.shape[-1]) if state_BHKV is None else state_BHKV.to(dtype)
        outputs = []
        parts = (by_tokens, by_state, scores, q, k, from_start[..., -1, None, None])
        # The gradient of a slice is as large as what it was cut from, that of all slices together is not.
        for own_n, seen_n, scores_n, q_n, k_n, kept_n in zip(*(part.unbind(dim=2) for part in parts), strict=True):
            change = own_n - seen_n @ state
            outputs.append(q_n @ state + scores_n @ change)
            state = state * kept_n + k_n @ change
    return torch.cat(outputs, dim=2)[:, :, :length], state

import matplotlib.image
import numpy as np

from lightning_tx.tracking.figures import draw_stats


def test_a_stat_of_several_entries_is_one_figure_with_a_line_for_each(store, tracked) -> None:
    with tracked() as run:
        for step in (1, 2, 3):
            loads = {f"train/stats/decoder.{layer}.feed_forward/load/{e}": e / 4 for layer in (0, 1) for e in range(3)}
            run.log_metrics({**loads, "train/loss": 1.0, "train/stats/decoder.0.feed_forward/entropy": 0.5}, step=step)
    (path,) = draw_stats(store, run.run_id, run.folder)
    assert path == run.folder / "load.png"
    pixels = (255 * matplotlib.image.imread(path)[..., :3]).reshape(-1, 3)
    for colour, is_drawn in (
        ((31, 119, 180), True),
        ((255, 127, 14), True),
        ((44, 160, 44), True),
        ((214, 39, 40), False),
    ):
        assert (abs(pixels - np.array(colour)).max(axis=1) < 12).any() == is_drawn  # matplotlib's colours, in order


def test_a_run_without_such_stats_has_no_figure(store, tracked) -> None:
    with tracked() as run:
        run.log_metrics({"train/loss": 1.0, "train/stats/decoder.0.feed_forward/entropy": 0.5}, step=1)
    assert draw_stats(store, run.run_id, run.folder) == []

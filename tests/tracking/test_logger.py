"""The logger under Lightning's own trainer, signals included."""

import os
import signal

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from lightning_tx.tracking.interrupts import Interrupted
from lightning_tx.tracking.logger import MetricLogger

STEPS = 20


class Line(LightningModule):
    def __init__(self, at_step=None):
        super().__init__()
        self.model = torch.nn.Linear(1, 1)
        self.at_step = at_step or (lambda step: None)

    def training_step(self, batch, index):
        self.at_step(self.global_step)
        loss = self.model(batch).pow(2).mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, index):
        self.log("val/loss", self.model(batch).pow(2).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def fit(tmp_path):
    def run_it(run, at_step=None, **options):
        data = DataLoader(torch.randn(STEPS, 1), batch_size=1)
        trainer = Trainer(
            max_steps=STEPS,
            logger=MetricLogger(run),
            log_every_n_steps=1,
            accelerator="cpu",
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=tmp_path / "stray",
            **{"enable_checkpointing": False, **options},
        )
        trainer.fit(Line(at_step), data, data)
        return trainer

    return run_it


def test_every_step_is_recorded_under_lightnings_keys(tracked, store, fit):
    with tracked() as run:
        trainer = fit(run)
        # Readable as soon as fit has returned.
        assert len(store.history(run.run_id, "train/loss")) == STEPS
    assert set(store.run(run.run_id).metrics) == {"train/loss", "val/loss"}  # no 'epoch'
    assert [step for step, _ in store.history(run.run_id, "train/loss")] == list(range(STEPS))
    [(_, value)] = store.history(run.run_id, "val/loss")
    assert value == pytest.approx(trainer.callback_metrics["val/loss"].item())
    assert store.run(run.run_id).status == "FINISHED"


def test_lightnings_own_checkpoints_land_in_the_runs_folder(tracked, fit, tmp_path):
    with tracked() as run:
        fit(run, enable_checkpointing=True, callbacks=[ModelCheckpoint()])
    assert [path.parent.parent for path in (tmp_path / "multirun").rglob("*.ckpt")] == [run.folder]
    assert not (tmp_path / "stray").exists()


def test_hyperparameters_are_left_to_the_run(tracked, store):
    with tracked() as run:
        MetricLogger(run).log_hyperparams({"lr": 3})
    assert "lr" not in store.run(run.run_id).params


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_passes_through_lightning(tracked, store, fit, signum, code):
    def at_step(step):
        if step == 7:
            os.kill(os.getpid(), signum)

    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(SystemExit) as caught, tracked() as run:
        fit(run, at_step)
    assert isinstance(caught.value, Interrupted)
    assert caught.value.code == code
    assert store.run(run.run_id).status == "KILLED"
    assert len(store.history(run.run_id, "train/loss")) == 7
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before


def test_an_exception_passes_through_lightning(tracked, store, fit):
    def at_step(step):
        if step == 3:
            raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"), tracked() as run:
        fit(run, at_step)
    record = store.run(run.run_id)
    assert (record.status, record.tags["ltx.reason"]) == ("FAILED", "ValueError: planted")
    assert len(store.history(run.run_id, "train/loss")) == 3

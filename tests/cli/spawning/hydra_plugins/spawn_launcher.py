"""A launcher as third parties write them: every job in a fresh process, which gets all that it needs as a pickle."""

import multiprocessing
import os
from collections.abc import Sequence
from typing import Any

import cloudpickle
from hydra.core.config_store import ConfigStore
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from omegaconf import open_dict


class SpawnLauncher(Launcher):
    def __init__(self, workers: int = 1) -> None:
        self.workers = workers

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.shared = (hydra_context, task_function, config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        state = Singleton.get_state()
        jobs = [
            cloudpickle.dumps((initial_job_idx + number, list(overrides), state, *self.shared))
            for number, overrides in enumerate(job_overrides)
        ]
        with multiprocessing.get_context("spawn").Pool(self.workers) as pool:
            return pool.map(execute, jobs)


def execute(job: bytes) -> JobReturn:
    setup_globals()
    number, overrides, state, hydra_context, task_function, config = cloudpickle.loads(job)
    Singleton.set_state(state)
    os.environ["ELSEWHERE"] = "32"  # another machine is not like the one where the jobs were checked
    composed = hydra_context.config_loader.load_sweep_config(config, overrides)
    with open_dict(composed):
        composed.hydra.job.id = f"job-{number}"
        composed.hydra.job.num = number
    return run_job(
        hydra_context=hydra_context,
        task_function=task_function,
        config=composed,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


node = {"_target_": "hydra_plugins.spawn_launcher.SpawnLauncher", "workers": 1}
ConfigStore.instance().store(group="hydra/launcher", name="spawn", node=node)

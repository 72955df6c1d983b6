"""Where a run ran: Python, machine and libraries."""

import os
import platform
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

#: The libraries whose versions stand at the top; every installed package follows below.
LIBRARIES = (
    "lightning_tx",
    "torch",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "mlflow",
    "torchmetrics",
    "tokenizers",
    "numpy",
)


@cache
def environment() -> dict[str, Any]:
    """What this process runs on, as plain JSON values; looked up once, for it does not change."""
    import psutil
    import torch

    packages = _packages()
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cpu": {
            "name": _cpu_name(),
            "physical_cores": psutil.cpu_count(logical=False),
            "logical_cores": os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "torch_threads": torch.get_num_threads(),
        },
        "accelerators": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "libraries": {name: packages[name] for name in LIBRARIES if name in packages},
        "packages": [f"{name}=={version}" for name, version in packages.items()],
    }


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        about = distribution.metadata  # read from its file each time that it is asked for
        # A half-removed package leaves a folder without a name; the first on the path is the one that is imported.
        if name := about["Name"]:
            found.setdefault(name, about["Version"])
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _cpu_name() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

"""A component in a fresh process, where sets of texts come in another order.

Python draws the hashes of texts anew in every process: the order of ``set(texts)`` is the same all day in one process,
and another in the next run.
"""

import importlib
import importlib.util
import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

from lightning_tx.testing.results import NotApplicable, Violation


@contextmanager
def digests_elsewhere(
    component: type, options: Mapping[str, Any], texts: Sequence[str] | None = None
) -> Iterator[Callable[[], Any]]:
    """Ask a fresh process what a component makes of the same: the digests of splits, or that of a tokenizer.

    Args:
        component: a class of the group ``data`` or ``tokenizer``.
        options: of its constructor; plain values.
        texts: what a tokenizer is trained on; None for data, which is loaded.

    Yields:
        A function that waits for the answer, and raises a :class:`Violation` where the component fails there.

    Raises:
        NotApplicable: the class cannot be imported from where it stands, as one that a function made.
    """
    if "<locals>" in component.__qualname__:
        raise NotApplicable("a class that a function made cannot be imported by another process")
    order = {
        "module": component.__module__,
        "file": inspect.getfile(component),
        "name": component.__qualname__,
        "options": dict(options),
        "texts": texts,
    }
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    path = os.pathsep.join([each for each in sys.path if each])
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, json.dumps(order)],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def answer() -> Any:
        out, errors = process.communicate()
        if process.returncode != 0:
            last = (errors.strip().splitlines() or ["nothing was said"])[-1]
            raise Violation(f"in a fresh process it fails: {last}")
        return json.loads(out.splitlines()[-1])

    with process:
        try:
            yield answer
        finally:
            process.kill()


def _class(module: str, file: str, name: str) -> Any:
    """The class, from the module of its name, or else from its file."""
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] and error.name != module:
            raise
        spec = importlib.util.spec_from_file_location(module, file)
        assert spec is not None and spec.loader is not None
        found = sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    return reduce(getattr, name.split("."), found)


def _main() -> None:
    order = json.loads(sys.argv[1])
    component = _class(order["module"], order["file"], order["name"])(**order["options"])
    if order["texts"] is not None:
        print(json.dumps(component.train(order["texts"]).digest))
        return
    with tempfile.TemporaryDirectory() as cache:
        print(json.dumps(dict(component.load(Path(cache)).digests)))


if __name__ == "__main__":
    _main()

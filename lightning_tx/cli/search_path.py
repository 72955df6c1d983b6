"""The configs of installed plugins, and folders named for one command, join Hydra's search path."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from lightning_tx.core.group import PLUGIN_ENTRY_POINT
from lightning_tx.core.package import conf_dir
from lightning_tx.groups import GROUPS

#: The groups of configs: those of components, and those that are no registry groups.
CONFIG_GROUPS = (*GROUPS, "trainer", "tracking", "experiment")

_folders: ContextVar[tuple[Path, ...]] = ContextVar("folders", default=())


@contextmanager
def joined(folders: Sequence[Path]) -> Iterator[None]:
    """Let folders of configs join the search path of the sessions that are opened inside the block."""
    before = _folders.set((*_folders.get(), *(folder.absolute() for folder in folders)))
    try:
        yield
    finally:
        _folders.reset(before)


class PluginConfigs(SearchPathPlugin):
    """Adds the folders of the command and the ``<package>/conf`` of every installed plugin.

    Of two choices of one name the first found counts; those of the project come before all of these.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append each folder that exists to a search path of ours; packages are found without importing them."""
        if str(conf_dir()) not in [
            place.path.removeprefix("file://") for place in search_path.get_path() if place.path
        ]:
            return  # the program is an application of Hydra too, and this is its own
        for folder in dict.fromkeys(_folders.get()):
            search_path.append(provider="command line", path=f"file://{folder}")
        for plugin in entry_points(group=PLUGIN_ENTRY_POINT):
            spec = find_spec(plugin.module.partition(".")[0])
            for place in (spec.submodule_search_locations or []) if spec else []:
                folder = Path(place) / "conf"
                if folder.is_dir():
                    search_path.append(provider=plugin.name, path=f"file://{folder}")

"""The configs of installed plugins join Hydra's search path."""

from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from lightning_tx.core.registry import PLUGIN_ENTRY_POINT


class PluginConfigs(SearchPathPlugin):
    """Adds ``<package>/conf`` of every installed plugin, found without importing the package."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append each folder that exists."""
        for plugin in entry_points(group=PLUGIN_ENTRY_POINT):
            spec = find_spec(plugin.module.partition(".")[0])
            for place in (spec.submodule_search_locations or []) if spec else []:
                folder = Path(place) / "conf"
                if folder.is_dir():
                    search_path.append(provider=plugin.name, path=f"file://{folder}")

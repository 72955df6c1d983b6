"""Sessions of Hydra in which our configs are composed, within any program: also one that is an application of Hydra."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobRuntime
from hydra.version import VersionBase

from lightning_tx.cli.plugins import VARIABLE as PLUGINS
from lightning_tx.cli.search_path import PluginConfigs
from lightning_tx.core.package import conf_dir, default_root

HYDRA_VERSION = "1.3"

#: The session that is open.
_open: list[Any] = []


@contextmanager
def hydra_session() -> Iterator[None]:
    """Let configs be composed; does nothing inside such a session.

    The session of another application, in whose program this may run, is set aside meanwhile.
    """
    prepare()
    if _open and GlobalHydra.instance().hydra is _open[-1]:
        yield
        return
    with _alone(), initialize_config_dir(str(conf_dir()), version_base=HYDRA_VERSION):
        _open.append(GlobalHydra.instance().hydra)
        try:
            yield
        finally:
            _open.pop()


def prepare() -> None:
    """Tell Hydra what it must know before it composes: a name for this launch, and the configs of installed plugins.

    Raises:
        ConfigError: a variable of the environment is set to nothing that can be used.
    """
    default_root()
    if not os.environ.get(PLUGINS, "[]").strip():
        del os.environ[PLUGINS]  # the config takes it as it is
    # Two sweeps started within a second must not share a folder; a launcher's workers inherit the environment.
    os.environ.setdefault("LTX_LAUNCH", secrets.token_hex(3))
    Plugins.instance().register(PluginConfigs)


@contextmanager
def _alone() -> Iterator[None]:
    """No session is open, and what an application has set up is put back: its session, version base and name."""
    application, version_base = GlobalHydra.instance().hydra, VersionBase.instance().getbase()
    name = JobRuntime.instance().get("name")
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = application
        VersionBase.instance().version_base = version_base
        JobRuntime.instance().set("name", name)

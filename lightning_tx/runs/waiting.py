"""Runs that other processes train, waited for: each is trained once, whoever began it."""

import time
from collections.abc import Callable

from lightning_tx.core import names
from lightning_tx.tracking.client import is_server
from lightning_tx.tracking.owners import owner_of
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.store import Store

#: Between two looks whether others are done.
POLL_SECONDS = 1.0


class OtherOwners:
    """The runs of one command that other processes are training.

    Args:
        store: where they are recorded.
        study: the study they belong to; None for runs without one.
        say: told once for whom is waited, and of each run that is waited for no longer.

    Attributes:
        failures: runs that failed there.
    """

    def __init__(self, store: Store, study: str | None, say: Callable[[str], None]) -> None:
        self._store, self._study, self._say = store, study, say
        self._titles: dict[str, str] = {}
        self.failures = 0

    def add(self, identity: str, title: str) -> None:
        """Wait for the run of an identity as well; ``title`` is what it is called to the user."""
        self._titles[identity] = title

    def wait(self) -> list[str]:
        """Wait until runs are free that their owners left unfinished, or none is trained elsewhere any more.

        A run that has finished or failed there is done with. One whose owner died or was stopped is free.

        Returns:
            The identities of the runs that are free, which are waited for no longer; empty when all is done.
        """
        runs: dict[str, RunRecord | None] = {}
        told = False
        while self._titles:
            # Locks say who trains here; for a run on another machine that shares a server, its status alone does.
            if not runs or is_server(self._store.uri):
                runs = {identity: self._store.find(identity, self._study) for identity in self._titles}
            owners = self._owners(runs)
            free = [identity for identity in self._titles if identity not in owners and self._is_left(identity)]
            for identity in [each for each in self._titles if each not in owners]:
                del self._titles[identity]
            if free or not self._titles:
                return free
            if not told:
                self._tell(owners)
                told = True
            time.sleep(POLL_SECONDS)
        return []

    def _owners(self, runs: dict[str, RunRecord | None]) -> dict[str, str]:
        """By identity, who trains those of the runs that somebody trains."""
        with self._store.lock():
            found = {
                identity: owner_of(self._store, run)
                for identity in self._titles
                if (run := runs[identity]) is not None and not run.finished
            }
        return {identity: owner for identity, owner in found.items() if owner is not None}

    def _is_left(self, identity: str) -> bool:
        """Whether a run that nobody trains now is left to be trained; says what came of it if not."""
        run = self._store.find(identity, self._study)
        if run is None or run.status not in ("FINISHED", "FAILED"):
            return True
        self.failures += not run.finished
        outcome = "finished" if run.finished else f"failed: {run.tags.get(names.REASON, 'no reason was recorded')}"
        self._say(f"{self._titles[identity]}: {outcome}, in the other process")
        return False

    def _tell(self, owners: dict[str, str]) -> None:
        number = len(self._titles)
        runs = next(iter(self._titles.values())) if number == 1 else f"{number} runs"
        self._say(
            f"Waiting for {runs}, trained by {', '.join(dict.fromkeys(owners.values()))}. "
            "Ctrl-C ends the waiting, and leaves what is trained there alone."
        )

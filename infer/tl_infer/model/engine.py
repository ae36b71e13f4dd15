"""The sessions behind a classifier: opened when needed, opened again in a forked process, freed by `close`."""

import ctypes
import os
import threading
import weakref
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tl_infer.errors import ClosedError, ModelFileError, ProviderError
from tl_infer.model.modelfile import ModelFile
from tl_infer.model.opening import CPU
from tl_infer.model.session import Session

_alive: "weakref.WeakSet[Engine]" = weakref.WeakSet()


class Engine:
    """A model and its sessions. Thread-safe; works in forked processes."""

    def __init__(self, model: ModelFile, threads: int, providers: Sequence[str], *, for_many: bool) -> None:
        """Open the session for single images, or the one for many; the other is opened when first used.

        Raises:
            ModelFileError, ProviderError: as `Session`.

        """
        self.model = model
        self.threads = threads
        self._providers = tuple(providers)
        self._sessions: dict[int, Session] = {}
        self._closed = False
        self._lock = threading.Lock()
        self.first = self.for_many() if for_many else self.for_one()
        _alive.add(self)

    def check_answers(self, image: npt.NDArray[np.uint8]) -> None:
        """Run one image (H, W, 3) and check every output against the contract.

        Raises:
            ModelFileError: as `Session.run`.
            ProviderError: another provider than the CPU fails at it, and the CPU does not.

        """
        try:
            self.first.check_answers(image)
        except ModelFileError as error:
            if self._providers == (CPU,):
                raise
            Session(self.model, 1).check_answers(image)  # what is wrong with the file is said as it is
            named = " or ".join(self._providers)
            raise ProviderError(f"provider '{named}': fails where the CPU does not: {error}") from error

    def for_one(self) -> Session:
        """For one image at a time: all processors inside the network.

        Raises:
            ClosedError: after `close`.

        """
        return self._session(self.threads)

    def for_many(self) -> Session:
        """For many images: each Python thread runs the network on one processor.

        On two cores this gives 1.3 to 1.6 times the images per second of one session with two threads.

        Raises:
            ClosedError: after `close`.

        """
        return self._session(1)

    def close(self) -> None:
        """Free the sessions; an image that is under way is finished first."""
        with self._lock:
            self._closed = True
            self._sessions.clear()
            self.__dict__.pop("first", None)

    def _session(self, threads: int) -> Session:
        if self._providers != (CPU,):
            threads = 1  # another device needs one session, not one for each way of using it
        with self._lock:
            if self._closed:
                raise ClosedError(f"{self.model.where}: the classifier was closed; open a new one")
            if threads not in self._sessions:
                session = Session(self.model, threads, self._providers)
                if "first" in self.__dict__:
                    session.embedding_columns = self.first.embedding_columns
                self._sessions[threads] = session
            return self._sessions[threads]

    def _forget(self) -> None:
        """In a forked child: another thread may have held the lock, and the sessions have no threads."""
        self._lock = threading.Lock()
        for session in self._sessions.values():
            # Freeing it waits for its threads, which the fork did not copy: a child that exited as programs do would
            # hang. So it is never freed.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
        self._sessions.clear()


def _after_fork() -> None:
    for engine in list(_alive):
        engine._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

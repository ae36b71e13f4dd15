"""`--sort-into`: each file into the folder of its class."""

import os
from collections.abc import Sequence
from pathlib import Path

from tl_infer.cli.foldernames import FAILED, UNSURE, folder_names
from tl_infer.cli.placing import Mode, Placer
from tl_infer.cli.rows import Row
from tl_infer.errors import OutputPathError, first_line


class Sorter:
    """Puts files into one folder per class, one for what the model was unsure of, and one for what failed."""

    def __init__(self, folder: Path, labels: Sequence[str], mode: Mode) -> None:
        """Nothing is made before the first file needs it.

        Args:
            folder: the folder of the folders.
            labels: of the model.
            mode: `copy`, `move`, or `link`; `move` leaves failed files where they are.

        """
        self._names = folder_names(labels)
        self._folder = folder
        self._mode = mode
        self._placer = Placer()

    @property
    def folders(self) -> frozenset[str]:
        """Real paths of the folders that files go to, where there are any yet or not."""
        names = (*self._names.values(), UNSURE, FAILED)
        return frozenset(os.path.realpath(self._folder / name) for name in names)

    def sort(self, source: Path, row: Row) -> Path | None:
        """Put a file where its row says.

        Returns:
            What was made of it; None where a failed file was left alone.

        Raises:
            OSError: this file cannot be copied, moved or linked; it is where it was.
            OutputPathError: no file could be put there.

        """
        if row.error is not None:
            # What is no regular file, or not there, has nothing to put anywhere.
            if self._mode == "move" or not source.is_file():
                return None
            return self._placer.place(source, self._made(FAILED), self._mode)
        name = UNSURE if row.label is None else self._names[row.label]
        return self._placer.place(source, self._made(name), self._mode)

    def _made(self, name: str) -> Path:
        folder = self._folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputPathError(f"{folder}: cannot be made: {first_line(error)}") from error
        return folder

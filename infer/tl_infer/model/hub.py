"""A model named by `hf://`: a file in a repository of the Hugging Face hub, of one commit and with its SHA-256.

A branch or a tag can be another file tomorrow, and a model file is a program: so both are asked for, and the file is
held against the digest wherever it came from.
"""

import dataclasses
import os
import re
from pathlib import Path
from typing import Final, Self

from tl_infer.errors import ModelFileError, first_line

PREFIX: Final = "hf://"
_FORM: Final = "hf://ORG/REPO@COMMIT/FILE.onnx#sha256=DIGEST"
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
_COMMIT: Final = re.compile(r"[0-9a-fA-F]{40}")
_DIGEST: Final = re.compile(r"sha256=([0-9a-fA-F]{64})")


@dataclasses.dataclass(frozen=True, slots=True)
class HubFile:
    """A file on the hub.

    Attributes:
        repository: organisation or user, a slash, and the name.
        commit: 40 hexadecimal digits.
        file: path in the repository, with slashes.
        sha256: of the file, 64 hexadecimal digits.

    """

    repository: str
    commit: str
    file: str
    sha256: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of a text such as `hf://org/repo@<commit>/model.onnx#sha256=<digest>`.

        Raises:
            ModelFileError: of another form, the revision is no commit, or there is no SHA-256.

        """
        shown = " ".join(text[:200].split())
        place, _, fragment = text.removeprefix(PREFIX).partition("#")
        repository, _, rest = place.partition("@")
        commit, _, file = rest.partition("/")
        parts = file.split("/")
        sound = _REPOSITORY.fullmatch(repository) and file.isprintable() and "\\" not in file
        if not sound or any(part in ("", ".", "..") for part in parts):
            raise ModelFileError(f"{shown}: expected {_FORM}")
        if not _COMMIT.fullmatch(commit):
            raise ModelFileError(
                f"{shown}: the revision '{commit[:80]}' is no commit, expected its 40 hexadecimal digits: a branch "
                "or tag may be another file tomorrow"
            )
        digest = _DIGEST.fullmatch(fragment)
        if digest is None:
            raise ModelFileError(
                f"{shown}: expected #sha256= and the 64 hexadecimal digits of the file at the end; `sha256sum` and "
                "`Classifier.sha256` give them"
            )
        return cls(repository, commit.lower(), file, digest[1].lower())

    def local_path(self) -> Path:
        """Where the file is in the cache of the Hugging Face client, which downloads it if it is not there.

        Raises:
            ModelFileError: the client is not installed, or cannot get the file.

        """
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        try:
            from huggingface_hub import hf_hub_download, try_to_load_from_cache
        except ImportError as error:
            raise ModelFileError(
                f"{PREFIX}{self.repository}: needs the Hugging Face client; install it with: "
                "pip install 'tl-toolkit[hub]'"
            ) from error
        found = try_to_load_from_cache(self.repository, self.file, revision=self.commit)
        if isinstance(found, str):
            return Path(found)  # without asking the hub whether it is there
        try:
            return Path(hf_hub_download(self.repository, self.file, revision=self.commit))
        except Exception as error:  # the client has some thirty kinds of its own and of its libraries
            raise ModelFileError(
                f"{PREFIX}{self.repository}@{self.commit}/{self.file}: cannot be downloaded: {first_line(error)}"
            ) from error

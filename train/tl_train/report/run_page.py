"""What `report.html` tells of any run, whether its images have one label or several."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from tl_infer.images import Pixels
from tl_train.history import Epoch
from tl_train.report.drawing import Described
from tl_train.report.markup import svg_uri


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunPage:
    """What the page tells.

    Attributes:
        title: heading.
        labels: class names.
        history: a row per epoch.
        figures: caption -> figure, in order, beside those of the evaluation.
        facts: what to list of the run.
        names: of the held-out images, for the reader to find them.
        load: the pixels of the held-out image with that index.
        use_of_validation: why an accuracy on the validation images is too high; "" where it is not.
        warnings: findings about the data that the reader should act on.
        config: the configuration file's text.
        versions: library -> version.
        command: the command line that made the run; empty when it was no command line.

    """

    title: str
    labels: Sequence[str]
    history: Sequence[Epoch]
    figures: Mapping[str, Described]
    facts: Mapping[str, object]
    names: Sequence[str] = ()
    load: Callable[[int], Pixels] | None = None
    use_of_validation: str = ""
    warnings: Sequence[str] = ()
    config: str = ""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    command: str = ""

    def drawn(self) -> dict[str, tuple[str, str]]:
        """Caption -> the figure as a data: URI, and what it shows in words."""
        return {caption: (svg_uri(shown.figure), shown.words) for caption, shown in self.figures.items()}

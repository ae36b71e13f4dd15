"""The head of a finished run once more: what its penalised fit solved, where the backbone is as it came."""

from collections.abc import Mapping

import torch

from tl_infer.errors import TlError
from tl_train.data.dataset import Dataset
from tl_train.head.problem import HeadProblem, LabelHeadProblem, folding_of, head_loss, towards
from tl_train.models.architectures import Architecture
from tl_train.models.new_head import new_head
from tl_train.models.starting_weights import StartingWeights
from tl_train.progress import Progress
from tl_train.run.prepare import prior_for
from tl_train.run_folder.folder import RunFolder


def head_problem_of(
    run: RunFolder, dataset: Dataset, architecture: Architecture, progress: Progress
) -> HeadProblem | LabelHeadProblem | None:
    """The problem that the run's head is the solution of.

    Args:
        run: a finished run.
        dataset: its images, read again.
        architecture: of its network.
        progress: gets a note where the starting weights are not there any more.

    Returns:
        None where the head was fitted in another way, or the backbone learned too.

    Raises:
        RunError: the run is damaged.

    """
    config = run.config()
    if config.head.fit != "penalised" or config.model.weights == "none":
        return None
    try:
        trained = run.weights()
        module = architecture.build()
        starting = StartingWeights.read(config.model.weights, architecture, module)
        if not _is_frozen(trained, starting.tensors, f"{architecture.head}."):
            return None
        if dataset.has_several:
            return LabelHeadProblem(folding_of(config, dataset))
        pretrained = starting.head(new_head(module, architecture).in_features)
        prior = prior_for(config, pretrained, dataset.labels, Progress())
    except TlError as error:
        progress.note(f"The head cannot be fitted again as it was: {error}")
        return None
    width = trained[f"{architecture.head}.weight"].shape[1]
    given = towards(prior, pretrained, len(dataset.labels), width)
    return HeadProblem(given, head_loss(config, dataset), folding_of(config, dataset))


def _is_frozen(tensors: Mapping[str, torch.Tensor], starting: Mapping[str, torch.Tensor], head: str) -> bool:
    """Whether all tensors but the head's are those that the run started from."""
    return all(
        torch.equal(tensors[name].float(), tensor.float())
        for name, tensor in starting.items()
        if not name.startswith(head) and name in tensors
    )

"""Which tensors of a checkpoint are a network's: the ones under a prefix, as wrappers and training scripts add it."""

import collections
import dataclasses
import re
from collections.abc import Collection

from tl_train.errors import WeightsError
from tl_train.models.weight_files import Weights

# What torch.compile, FSDP and activation checkpointing put before the names inside each part that they wrap.
_OF_WRAPPERS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_WORDS = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class NamedTensors:
    """Tensors by the names that a network has for them.

    Attributes:
        tensors: by name.
        prefix: what stood before the names in the file, such as `state_dict.module.`; "" for nothing.

    """

    tensors: Weights
    prefix: str = ""


def without_prefix(tensors: Weights, names: Collection[str], where: str) -> NamedTensors:
    """The tensors under the prefix that makes them fit a network; all of them where they fit as they are.

    Where several prefixes do, and one says that it holds a moving average (`ema`), that one is taken, as timm does.
    Where none does, because wrappers stand around parts of the network, their names are left out.

    Args:
        tensors: as `read_weights` names them.
        names: those that the network cannot do without.
        where: what to call the file in messages.

    Raises:
        WeightsError: several prefixes fit, and which is meant cannot be told.

    """
    counts = _prefixes(tensors, frozenset(names))
    if len(names) not in counts.values():
        unwrapped = {_OF_WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}
        inside = _prefixes(unwrapped, frozenset(names))
        if len(names) in inside.values() and len(unwrapped) == len(tensors):
            tensors, counts = unwrapped, inside
    fitting = [prefix for prefix, count in counts.items() if count == len(names)]
    if "" in fitting or not counts:
        return NamedTensors(tensors)
    averages = [prefix for prefix in fitting if _says_average(prefix)]
    if len(fitting) > 1 and len(averages) != 1:
        quoted = " and ".join(f"'{prefix}'" for prefix in sorted(fitting))
        raise WeightsError(f"{where}: several networks fit, those under {quoted}; save the state dict of one alone")
    # Where none fits, what is missing under the nearest says most.
    prefix = (averages or fitting or [max(counts, key=lambda each: (counts[each], -len(each)))])[0]
    under = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return NamedTensors(under, prefix)


def _says_average(prefix: str) -> bool:
    """Whether `ema` is one of the words: `model_ema.` and `emaModel.`, but not `schema.` or `semantic.`."""
    return "ema" in map(str.lower, _WORDS.findall(prefix))


def _prefixes(tensors: Weights, names: frozenset[str]) -> collections.Counter[str]:
    """How many of the names are there under each prefix."""
    counts: collections.Counter[str] = collections.Counter()
    for full in tensors:
        start = 0
        while start >= 0:
            if full[start:] in names:
                counts[full[:start]] += 1
            start = full.find(".", start) + 1 or -1
    return counts

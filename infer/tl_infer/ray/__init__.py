"""`classify`: more images than one machine classifies, on Ray Data; needs the extra `ray`."""

from tl_infer.ray.dataset import Wanted, classify

__all__ = ["Wanted", "classify"]

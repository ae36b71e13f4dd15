"""`ImageLoader`: the pixels of a classifier's images."""

from tl_infer.images import ImageSource, Pixels, load_image
from tl_infer.isolation.pool import DecodingPool
from tl_infer.limits import Limits
from tl_infer.model.contract import PreprocessSpec
from tl_infer.sixteen_bit import DepthTally


class ImageLoader:
    """Loads images for a model; thread-safe.

    Attributes:
        limits: what decoding an image may take.
        tally: counts the files of 16 bits a channel.
        is_isolated: other processes decode, and a thread that loads an image waits for one of them.

    """

    def __init__(self, limits: Limits, preprocess: PreprocessSpec, processes: int) -> None:
        """Take what the model needs of an image, and start no process yet.

        Args:
            limits: what decoding an image may take.
            preprocess: of the model; with `fast_decode` an image is not decoded at less than twice what it keeps.
            processes: at most so many decode, if the limits say `isolate`.

        """
        self.limits = limits
        self.tally = DepthTally()
        self.is_isolated = limits.isolate
        self._pool = DecodingPool(limits, processes) if limits.isolate else None
        needed_px = 2 * max(*preprocess.size, preprocess.resize_px or 0)
        self._fast_for_px = needed_px if limits.fast_decode else None

    def __call__(self, image: ImageSource) -> Pixels:
        """The image, upright and RGB: uint8 (H, W, 3).

        Raises:
            ImageError, TlError, TypeError: as for `load_image`.

        """
        return load_image(image, self.limits, fast_for_px=self._fast_for_px, tally=self.tally, pool=self._pool)

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.close()

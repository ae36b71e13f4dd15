"""Small copies of images inside a page."""

import base64
import io

from PIL import Image

from tl_infer.images import Pixels

_THUMBNAIL_PX = 168


def thumbnail_uri(pixels: Pixels) -> tuple[str, bool]:
    """A small copy as a data: URI, and whether it is so small that its pixels shall be seen."""
    image = Image.fromarray(pixels)
    tiny = max(image.size) <= _THUMBNAIL_PX // 2
    buffer = io.BytesIO()
    if tiny:
        image.save(buffer, format="PNG")
        return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}", True
    image.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    image.save(buffer, format="JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", False

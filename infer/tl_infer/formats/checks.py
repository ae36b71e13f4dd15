"""What is looked at in a file before Pillow opens it, by its format.

What looks at the rarer formats is imported for the first file of each: of most programs there is none.
"""

from PIL import ImageFile

from tl_infer.formats.jpeg import Outline, read_outline
from tl_infer.formats.png import check_chunks
from tl_infer.limits import Limits

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
TIFF = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0", b"MM\0+")


def check_file(data: bytes, where: str, limits: Limits, further: str | None = None) -> Outline | None:
    """Look for too much, and for truncated data, unless the program has told Pillow to take that too.

    Args:
        data: the file.
        where: what errors call it.
        limits: on what it may hold.
        further: its format, if it is one of those that are read only if asked for.

    Returns:
        The outline of a JPEG; None for any other file.

    Raises:
        ImageError: the file holds more than the limits allow, or less than it says.

    """
    if further is not None:
        from tl_infer.formats.further.checks import check_further

        check_further(further, data, where, limits)
    elif data.startswith(_JPEG):
        return read_outline(data, where, limits.max_scans)
    elif data.startswith(_PNG):
        check_chunks(data, where, limits, truncated_too=ImageFile.LOAD_TRUNCATED_IMAGES)
    elif data.startswith(TIFF):
        from tl_infer.formats.tiff import check_layout

        check_layout(data, where, limits)
    elif data.startswith(b"GIF8"):
        from tl_infer.formats.gif import check_blocks

        check_blocks(data, where)
    elif data.startswith(b"BM"):
        from tl_infer.formats.bmp import check_encoding

        check_encoding(data, where)
    return None

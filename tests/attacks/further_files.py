"""Files of the formats that are read only if asked for, whose decoders go by more than the size that is declared."""

import io
import struct
from collections.abc import Sequence

from PIL import Image

Item = tuple[int, bytes, bytes, Sequence[bytes]]  # number, kind, data, properties
Reference = tuple[bytes, int, Sequence[int]]  # kind, from, to
_FORMATS = {b"avif": ("AVIF", b"av01", b"av1C"), b"heic": ("HEIF", b"hvc1", b"hvcC")}


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """A file as Pillow, or pillow-heif, writes it."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of the ISO base media file format."""
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def size_property(width: int, height: int) -> bytes:
    """What an image says of its size."""
    return box(b"ispe", bytes(4), struct.pack(">II", width, height))


def container(brand: bytes, items: Sequence[Item], references: Sequence[Reference] = ()) -> bytes:
    """An AVIF or HEIC file; the first item is the image."""
    start = box(b"ftyp", brand, bytes(4), brand, b"mif1")
    offset = len(start) + len(_meta(items, references, 0)) + 8
    return start + _meta(items, references, offset) + box(b"mdat", *(data for _, _, data, _ in items))


def _meta(items: Sequence[Item], references: Sequence[Reference], offset: int) -> bytes:
    places, entries, uses, properties = b"", b"", b"", b""
    count = 0
    for number, kind, data, described in items:
        places += struct.pack(">HHHII", number, 0, 1, offset, len(data))
        entries += box(b"infe", b"\2\0\0\0", struct.pack(">HH4s", number, 0, kind), b"\0")
        uses += struct.pack(">HB", number, len(described)) + bytes(count + 1 + n for n in range(len(described)))
        properties += b"".join(described)
        offset, count = offset + len(data), count + len(described)
    return box(
        b"meta", bytes(4), box(b"hdlr", bytes(8), b"pict", bytes(13)),
        box(b"pitm", bytes(4), struct.pack(">H", items[0][0])),
        box(b"iloc", bytes(4), b"\x44\x00", struct.pack(">H", len(items)), places),
        box(b"iinf", bytes(4), struct.pack(">H", len(items)), entries),
        box(b"iprp", box(b"ipco", properties), box(b"ipma", bytes(4), struct.pack(">I", len(items)), uses)),
        box(b"iref", bytes(4), *(
            box(kind, struct.pack(f">HH{len(to)}H", source, len(to), *to)) for kind, source, to in references
        )),
    )  # fmt: skip


def coded(brand: bytes, image: Image.Image) -> tuple[bytes, bytes, bytes]:
    """Kind, coded data and configuration of an image."""
    name, kind, configuration = _FORMATS[brand]
    data = encoded(image, name, **({"speed": 10} if name == "AVIF" else {}))
    place = data.index(configuration) - 4
    return kind, data[data.index(b"mdat") + 4 :], data[place : place + int.from_bytes(data[place : place + 4], "big")]


def larger_inside(brand: bytes, side_px: int = 1024, declared_px: int = 16) -> bytes:
    """Declared tiny, with a coded picture that is not: the decoder goes by that one."""
    kind, data, configuration = coded(brand, Image.new("RGB", (side_px, side_px)))
    return container(brand, [(1, kind, data, [size_property(declared_px, declared_px), configuration])])


def grid(
    brand: bytes, rows: int, columns: int, cells: Sequence[int], cell_px: int = 64, declared_px: int = 64
) -> bytes:
    """An image of cells; `cells` are their numbers, from 2 on, of which one may be there often."""
    kind, data, configuration = coded(brand, Image.new("RGB", (cell_px, cell_px), "red"))
    layout = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, declared_px, declared_px)
    items: list[Item] = [(1, b"grid", layout, [size_property(declared_px, declared_px)])]
    items += [(number, kind, data, [size_property(cell_px, cell_px), configuration]) for number in sorted(set(cells))]
    return container(brand, items, [(b"dimg", 1, list(cells))])


def hidden_frames(count: int) -> bytes:
    """An AVIF whose frame is there often: a flat one has some hundred bytes, and costs as much time as an image."""
    kind, data, configuration = coded(b"avif", Image.new("RGB", (64, 64)))
    frame = data[2:].index(b"\x32") + 2  # behind the temporal delimiter, if any, and the sequence header
    return container(b"avif", [(1, kind, data + data[frame:] * count, [size_property(64, 64), configuration])])


def repeated_slices(count: int) -> bytes:
    """A HEIC with the slices of its picture again and again; marked as none that begins a picture."""
    kind, data, configuration = coded(b"heic", Image.new("RGB", (64, 64)))
    units, place = [], 0
    while place < len(data):
        end = place + 4 + int.from_bytes(data[place : place + 4], "big")
        units.append(data[place:end])
        place = end
    (picture,) = (unit for unit in units if unit[4] >> 1 & 63 < 32)
    again = picture[:6] + bytes([picture[6] & 127]) + picture[7:]
    return container(b"heic", [(1, kind, data + again * count, [size_property(64, 64), configuration])])


def jpeg2000(
    side_px: int = 64, tile_px: int = 64, levels: int = 5, layers: int = 1, block: int = 4, precinct: int | None = None
) -> bytes:
    """The headers of a grey codestream with one empty tile part; `block` and `precinct` are exponents of two."""
    size = struct.pack(">HIIIIIIIIH", 0, side_px, side_px, 0, 0, tile_px, tile_px, 0, 0, 1) + b"\7\1\1"
    precincts = b"" if precinct is None else bytes([precinct << 4 | precinct] * (levels + 1))
    style = struct.pack(">BBHB", precinct is not None, 0, layers, 0)
    coding = style + bytes([levels, block - 2, block - 2, 0, 1]) + precincts
    quantisation = b"\x40" + bytes([0x40] * (3 * levels + 1))
    segments = ((b"\xff\x51", size), (b"\xff\x52", coding), (b"\xff\x5c", quantisation))
    header = b"".join(marker + struct.pack(">H", 2 + len(content)) + content for marker, content in segments)
    part = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 15, 0, 1) + b"\xff\x93" + b"\0"
    return b"\xff\x4f" + header + part + b"\xff\xd9"


def many_boxes(count: int) -> bytes:
    """Empty boxes before the header of a JPEG 2000 file: Pillow takes a microsecond for each of millions."""
    data = encoded(Image.new("L", (8, 8)), "JPEG2000")
    return data[:32] + box(b"free") * count + data[32:]


def many_header_boxes(count: int) -> bytes:
    """The same inside the header."""
    data = encoded(Image.new("L", (8, 8)), "JPEG2000")
    place = data.index(b"jp2h") - 4
    end = place + int.from_bytes(data[place : place + 4], "big")
    return data[:place] + box(b"jp2h", data[place + 8 : end], box(b"free") * count) + data[end:]


def pnm_with_a_comment(length: int) -> bytes:
    """A comment in the header, which Pillow reads byte by byte: 200 MB took a minute."""
    return b"P5\n#" + b"x" * length + b"\n1 1\n255\n\0"


def tga(
    kind: int, depth: int, width: int, height: int, flags: int = 0x20, data: bytes = b"", colours: bytes = b""
) -> bytes:
    """A TGA file; `colours` are those of its map, three bytes each."""
    has_map = bool(colours)
    header = struct.pack("<BBBHHBHHHHBB", 0, has_map, kind, 0, len(colours) // 3, 24 * has_map, 0, 0, width, height,
                         depth, flags)  # fmt: skip
    return header + colours + data

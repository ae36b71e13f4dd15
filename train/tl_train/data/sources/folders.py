"""A folder of images: one sub-folder per class; or parts of the data, each with one sub-folder per class."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tl_infer.errors import and_more, first_line
from tl_infer.system.finding import files_below, natural_key
from tl_train.config.choices import Parts
from tl_train.data.samples import PARTS, Sample, Source
from tl_train.data.sources.class_names import difference, normal_name, unknown_class
from tl_train.data.sources.image_files import images_in
from tl_train.data.sources.parts import expected_words, part_named, source_of
from tl_train.errors import DataError
from tl_train.progress import Progress

_NAMED = 3  # how many files or folders a message names

Classes = Mapping[str, Path]


def read_folder(root: Path, parts: Parts, progress: Progress) -> Source:
    """The images below a folder; they are not decoded yet.

    The classes are those of the training images. The other parts may lack a class but can have none of their own.
    Images that belong to no class or part are remarked on.

    Args:
        root: the folder.
        parts: whether folders named like parts of the data are parts.
        progress: gets notes.

    Raises:
        DataError: no classes, an empty class or part, names that could mean two things.

    """
    folders = _sub_folders(root)
    found = _parts_among(root, folders) if parts == "auto" else {}
    return _read_parts(root, found, progress) if found else _read_classes(root, folders, progress)


def _parts_among(root: Path, folders: Sequence[Path]) -> dict[str, Path]:
    """Part -> its folder; empty where the folders are classes."""
    by_part: dict[str, list[Path]] = {}
    for folder in folders:
        if part := part_named(folder.name):
            by_part.setdefault(part, []).append(folder)
    named = [folder for part in PARTS for folder in by_part.get(part, ())]
    others = [folder.name for folder in folders if folder not in named]
    if len(named) == 1 and others and not _holds_classes(named[0]):  # one class may well be called 'train'
        return {}
    for part, same in by_part.items():
        if len(same) > 1:
            names = " and ".join(f"'{folder.name}'" for folder in same)
            raise DataError(
                f"{root}: {names} both name the {part} images; expected one folder for them: rename or merge one, or "
                "take such folders for classes with --parts ignore"
            )
    if named and others:
        raise DataError(
            f"{root}: parts ({', '.join(folder.name for folder in named)}) beside other folders "
            f"({and_more(others, _NAMED)}); expected either only {expected_words()}, or one sub-folder per class; "
            "--parts ignore takes all of them for classes"
        )
    if named and "train" not in by_part:
        names = " and ".join(folder.name for folder in named)
        raise DataError(f"{root}: {names} without train; expected a sub-folder train")
    return {part: by_part[part][0] for part in PARTS if part in by_part}


def _holds_classes(folder: Path) -> bool:
    """Whether a folder looks like a part of the data: folders in it, and no images of its own."""
    return len(_sub_folders(folder, strict=False)) > 1 and not images_in(folder)


def _read_classes(root: Path, folders: Sequence[Path], progress: Progress) -> Source:
    classes = _classes(root, folders)
    remarks = [*_loose(root, "the class folders"), *_alike_inside(folders)]
    return source_of(tuple(classes), {"train": _class_images(classes, tuple(classes))}, progress, remarks)


def _read_parts(root: Path, folders: Mapping[str, Path], progress: Progress) -> Source:
    classes = _classes(folders["train"], _sub_folders(folders["train"]))
    labels = tuple(classes)
    remarks = [*_loose(root, "the parts"), *_loose(folders["train"], "the class folders")]
    parts = {"train": _class_images(classes, labels)}
    for part, folder in folders.items():
        if part == "train":
            continue
        inside = _sub_folders(folder)
        if not inside:
            remarks.append(_without_classes(folder))
            continue
        remarks += _loose(folder, "the class folders")
        parts[part] = _class_images(_known_classes(folder, inside, labels), labels)
    return source_of(labels, parts, progress, remarks)


def _classes(root: Path, folders: Sequence[Path]) -> Classes:
    """Class name -> folder, for two or more classes, in natural order of the names."""
    if not folders:
        loose = images_in(root)
        there = f"; the {len(loose)} image(s) in it have no class" if loose else ""
        raise DataError(f"{root}: no sub-folders; expected one sub-folder with images per class{there}")
    if len(folders) == 1:
        inside = f"; or are its sub-folders the classes? Then give {folders[0]}" if _holds_classes(folders[0]) else ""
        raise DataError(
            f"{root}: one class only ('{folders[0].name}'); expected a sub-folder for each of two or more{inside}"
        )
    return _by_name(folders)


def _by_name(folders: Sequence[Path]) -> Classes:
    classes: dict[str, Path] = {}
    for folder in folders:
        name = normal_name(folder.name)
        if not name.strip() or not name.isprintable():  # a name that is not Unicode is not printable
            raise DataError(f"{folder.parent}: found a class folder named {folder.name!r}, expected readable text; "
                            "rename it")  # fmt: skip
        if name in classes:
            raise DataError(
                f"{folder.parent}: two folders for class '{name}', whose names look the same but are written with "
                f"{difference(classes[name].name, folder.name)}; move the images of both into one"
            )
        classes[name] = folder
    return dict(sorted(classes.items(), key=lambda item: natural_key(item[0])))


def _known_classes(part: Path, folders: Sequence[Path], labels: Sequence[str]) -> Classes:
    classes = _by_name(folders)
    for name, folder in classes.items():
        if name not in labels:
            raise DataError(
                f"{folder}: class '{name}' is not among the training images{unknown_class(name, labels)}; expected the "
                "same names of classes, as nothing can be said of a class that was not trained on"
            )
    return classes


def _class_images(classes: Classes, labels: Sequence[str]) -> list[Sample]:
    """All files below each class's sub-folder; a sub-folder that is there must not be empty."""
    samples = []
    for label, name in enumerate(labels):
        if name not in classes:
            continue
        files = files_below(classes[name])
        if not files:
            raise DataError(f"{classes[name]}: the class is empty; add images or remove the folder")
        samples += [Sample(str(path), label, path=path.absolute()) for path in files]
    return samples


def _without_classes(folder: Path) -> str:
    """What to say of a part without class folders: its images are not labelled.

    Such a folder is common (the images of a competition's test), so it is remarked on and left out. One that holds
    nothing is a copy that failed or a wrong link: that is an error, at once, since removing it costs the user nothing
    and the accuracy of other images than meant would cost a training.
    """
    images = images_in(folder)
    if not images:
        raise DataError(
            f"{folder}: no images in this part of the data; expected one sub-folder with images per class; add them, "
            "or remove the folder to have such images split off the training images"
        )
    return (
        f"{len(images)} image(s) in {folder} have no class folder, first {and_more(images, _NAMED)}: they are not "
        "used; sort them into one sub-folder per class, or classify them with tl-infer afterwards"
    )


def _loose(folder: Path, beside: str) -> Iterator[str]:
    """What to say of images that are where only folders belong."""
    if images := images_in(folder):
        yield (
            f"{len(images)} image(s) in {folder} lie beside {beside}, first {and_more(images, _NAMED)}: they are not "
            "used; move them to the folder of their class, or away"
        )


def _alike_inside(folders: Sequence[Path]) -> Iterator[str]:
    """What to say of class folders that hold the same folders, as parts of unusual names do."""
    inside = [_names_inside(folder) for folder in folders]
    names = max(inside, key=len)
    if all(len(each) > 1 and set(each) <= set(names) for each in inside):
        yield (
            f"the class folders {and_more([folder.name for folder in folders], _NAMED)} all hold the same folders "
            f"({and_more(names, _NAMED)}): if those are the classes, call the folders right around them "
            f"{expected_words()}"
        )


def _names_inside(folder: Path) -> list[str]:
    """The folders in a folder, or in the only one in it, as archives are unpacked; none where there are images too."""
    while (folders := _sub_folders(folder, strict=False)) and not images_in(folder):
        if len(folders) > 1:
            return [normal_name(inside.name) for inside in folders]
        folder = folders[0]
    return []


def _sub_folders(root: Path, *, strict: bool = True) -> list[Path]:
    """Sub-folders in natural order of their names, hidden ones left out.

    Args:
        root: the folder.
        strict: refuse broken symlinks, which may stand for folders; in a class folder they are unreadable images.

    Raises:
        DataError: the folder cannot be listed, or a symlink in it is broken.

    """
    try:
        entries = [entry for entry in root.iterdir() if not entry.name.startswith(".")]
        for entry in entries:
            if strict and entry.is_symlink() and not entry.exists():
                raise DataError(f"{entry}: broken symlink; fix or remove it")
        folders = [entry for entry in entries if entry.is_dir()]
    except OSError as error:
        raise DataError(f"{root}: cannot be listed: {first_line(error)}") from error
    return sorted(folders, key=lambda folder: natural_key(folder.name))

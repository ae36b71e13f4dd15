"""What the files of each format say before they are decoded: sizes, numbers of parts, and whether the end is there."""

"""Fuzzing the parsers of what users and strangers give: `make fuzz SECONDS=60`.

Each target has a corpus, the files that once did harm among it, which is changed at random. There is no guidance by
coverage; the corpus has what the parsers branch on.
"""

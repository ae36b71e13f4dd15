"""Formats that are read only if asked for: AVIF, HEIC, JPEG 2000, PNM, TGA."""

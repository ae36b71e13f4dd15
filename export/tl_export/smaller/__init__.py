"""Smaller forms of a file: float16 weights and int8."""

"""Smaller files: float16 weights and int8."""

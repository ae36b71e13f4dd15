"""Decoding in processes of their own, which may crash, hang or run out of memory without harm to this one."""

"""Makers of files that do harm, each small and with a word on what it did before it was refused."""

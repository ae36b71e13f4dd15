"""Fitting the last layer on features of the frozen backbone."""

"""Metrics, reliability and calibration."""

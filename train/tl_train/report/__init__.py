"""The report: page, figures, diagnostics."""

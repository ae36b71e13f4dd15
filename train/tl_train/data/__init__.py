"""Images and labels: where they come from, checking, splitting."""

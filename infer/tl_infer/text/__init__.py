"""Text: what strangers wrote, made safe to show, and several labels in one cell."""

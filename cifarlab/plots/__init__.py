"""What each figure shows and how it looks; Matplotlib is imported when something is drawn."""

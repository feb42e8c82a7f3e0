"""What a network looks at and what it is made of: maps, filters, the drawn architecture."""

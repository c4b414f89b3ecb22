"""What a request says of what it will use: its model, its caps, the length of its text."""

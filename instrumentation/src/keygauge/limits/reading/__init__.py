"""What a request reveals about its future usage: its model, its caps, and the length of its text."""

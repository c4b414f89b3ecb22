"""The portal: HTML pages on which customers view and manage keys and usage."""

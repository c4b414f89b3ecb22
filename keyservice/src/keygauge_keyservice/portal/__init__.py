"""The portal: HTML pages on which a customer sees and manages keys and usage."""

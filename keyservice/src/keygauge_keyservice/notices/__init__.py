"""What owners are told of their accounts: found once, and delivered by e-mail and webhooks until it arrives."""

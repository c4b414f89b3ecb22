"""What replicas call: heartbeats, events and reports, with the token of a service."""

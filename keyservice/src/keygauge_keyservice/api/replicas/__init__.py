"""The replicas' API: heartbeats, events and reports, with a service token."""

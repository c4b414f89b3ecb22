"""Value types as written by people and the API: money, durations, time zones, request fields."""

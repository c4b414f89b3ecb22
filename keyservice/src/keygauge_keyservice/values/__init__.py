"""Kinds of values as people and the API write them: money, durations, time zones, fields of requests."""

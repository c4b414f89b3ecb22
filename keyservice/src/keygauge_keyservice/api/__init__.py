"""The HTTP API for operators and replicas under /v1: one blueprint per noun, with its part of the OpenAPI document."""

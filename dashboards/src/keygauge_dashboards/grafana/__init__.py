"""Panels, variables, annotations and provisioning in Grafana's formats.

`panels` is the only module that uses grafanalib.
"""

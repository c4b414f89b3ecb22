"""Panels, variables, annotations and provisioning as Grafana reads them.

`panels` is the only module that knows grafanalib.
"""

"""Alerts, one file per subject.

A new alert is a function here, with a promtool case, a heading in the runbook, and its name in `alerts=` of a panel.
"""

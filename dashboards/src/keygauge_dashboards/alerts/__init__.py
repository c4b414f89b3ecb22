"""Alerts, one file per subject.

A new alert is a function here with a promtool case and a heading in the runbook.
"""

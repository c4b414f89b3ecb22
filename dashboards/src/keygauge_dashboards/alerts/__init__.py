"""Alerts, one file for each subject.

A new one is a function here with a promtool case and a heading in the runbook.
"""

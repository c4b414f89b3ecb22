"""The portal: HTML pages on which customers view and manage keys and usage.

A page is a file in `pages`, a template, and a line in `site`.
"""

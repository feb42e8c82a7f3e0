"""Loggers: callbacks that copy a run into the tools in which a user keeps all runs.

``base.py`` says what is copied and when; each other file knows one tool.
"""

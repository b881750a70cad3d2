"""Scenario files: a config, the doubles, and step by step what is asked and what must come."""

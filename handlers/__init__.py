"""The reference application's handlers: read models of an AI-governance platform, kept in Redis.

Each is idempotent by construction: what it writes is keyed by the id of the event, or the newest fact wins.
"""

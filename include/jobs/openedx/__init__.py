"""Open edX: courses, tracking logs, forum, and what MIT Learn is told."""

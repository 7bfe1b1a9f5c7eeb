"""Invented courses as Open edX exports them: seeded archives (OLX), the documents of the course-structure API, and what each holds, counted from the plan."""

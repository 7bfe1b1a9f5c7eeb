"""Course archives (OLX) and course structures: one pass over what Open edX exports, into landing objects and raw tables."""

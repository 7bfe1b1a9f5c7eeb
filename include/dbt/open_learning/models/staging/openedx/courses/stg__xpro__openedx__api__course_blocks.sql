{{ openedx_course_blocks('xpro') }}

{{ openedx_course_structure('xpro') }}

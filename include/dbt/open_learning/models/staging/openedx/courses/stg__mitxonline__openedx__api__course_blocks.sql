{{ openedx_course_blocks('mitxonline') }}

{{ openedx_course_blocks('mitx') }}

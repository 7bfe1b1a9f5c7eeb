{{ openedx_course_structure('mitx') }}

{{ openedx_course_structure('mitxonline') }}

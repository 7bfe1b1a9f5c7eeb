{{ openedx_course_xml_blocks('mitxonline') }}

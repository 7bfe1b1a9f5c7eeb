{{ openedx_course_xml_blocks('mitx') }}

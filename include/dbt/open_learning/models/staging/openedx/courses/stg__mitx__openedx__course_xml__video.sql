{{ openedx_course_xml_video('mitx') }}

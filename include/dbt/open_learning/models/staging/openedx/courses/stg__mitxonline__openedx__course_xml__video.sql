{{ openedx_course_xml_video('mitxonline') }}

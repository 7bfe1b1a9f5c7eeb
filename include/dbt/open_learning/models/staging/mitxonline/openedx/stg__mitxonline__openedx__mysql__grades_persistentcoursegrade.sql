select
  id as coursegrade_id,
  user_id as openedx_user_id,
  course_id as courserun_readable_id,
  percent_grade as coursegrade_percent,
  nullif(letter_grade, '') as coursegrade_letter,
  passed_timestamp as coursegrade_passed_on,
  modified as coursegrade_updated_on
from {{ source('ol_warehouse_raw_data', 'raw__mitxonline__openedx__mysql__grades_persistentcoursegrade') }}

select
  id as courserungrade_id,
  user_id,
  course_run_id as courserun_id,
  grade as courserungrade_grade,
  letter_grade as courserungrade_letter_grade,
  passed as courserungrade_is_passing,
  {{ utc('created_on') }} as courserungrade_created_on,
  {{ utc('updated_on') }} as courserungrade_updated_on
from {{ source('ol_warehouse_raw_data', 'raw__mitxonline__app__postgres__courses_courserungrade') }}

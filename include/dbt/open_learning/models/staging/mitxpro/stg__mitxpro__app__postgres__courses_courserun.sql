select
  id as courserun_id,
  course_id,
  courseware_id as courserun_readable_id,
  title as courserun_title,
  run_tag as courserun_tag,
  {{ utc('start_date') }} as courserun_start_on,
  {{ utc('end_date') }} as courserun_end_on,
  {{ utc('enrollment_start') }} as courserun_enrollment_start_on,
  {{ utc('enrollment_end') }} as courserun_enrollment_end_on,
  live as courserun_is_live,
  {{ utc('created_on') }} as courserun_created_on,
  {{ utc('updated_on') }} as courserun_updated_on,
  {{ utc('_airbyte_extracted_at') }} as courserun_extracted_on
from {{ source('ol_warehouse_raw_data', 'raw__xpro__app__postgres__courses_courserun') }}

select
  id as course_id,
  readable_id as course_readable_id,
  title as course_title,
  live as course_is_live,
  {{ utc('created_on') }} as course_created_on,
  {{ utc('updated_on') }} as course_updated_on
from {{ source('ol_warehouse_raw_data', 'raw__mitxonline__app__postgres__courses_course') }}

select
  id as courserunenrollment_id,
  user_id,
  run_id as courserun_id,
  active as courserunenrollment_is_active,
  change_status as courserunenrollment_enrollment_status,
  edx_enrolled as courserunenrollment_is_edx_enrolled,
  {{ utc('created_on') }} as courserunenrollment_created_on,
  {{ utc('updated_on') }} as courserunenrollment_updated_on
from {{ source('ol_warehouse_raw_data', 'raw__xpro__app__postgres__courses_courserunenrollment') }}

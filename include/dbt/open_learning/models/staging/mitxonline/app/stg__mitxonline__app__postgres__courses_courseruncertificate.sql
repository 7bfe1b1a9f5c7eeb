select
  id as courseruncertificate_id,
  uuid as courseruncertificate_uuid,
  user_id,
  course_run_id as courserun_id,
  is_revoked as courseruncertificate_is_revoked,
  {{ utc('issue_date') }} as courseruncertificate_issued_on,
  {{ utc('created_on') }} as courseruncertificate_created_on,
  {{ utc('updated_on') }} as courseruncertificate_updated_on
from {{ source('ol_warehouse_raw_data', 'raw__mitxonline__app__postgres__courses_courseruncertificate') }}

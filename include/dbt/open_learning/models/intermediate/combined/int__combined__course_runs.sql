select
  'mitxonline' as platform,
  {{ surrogate_key(["'mitxonline'", 'courserun_id']) }} as courserun_key,
  {{ surrogate_key(["'mitxonline'", 'course_id']) }} as course_key,
  courserun_id,
  courserun_readable_id,
  courserun_title,
  courserun_tag,
  courserun_start_on,
  courserun_end_on,
  courserun_enrollment_start_on,
  courserun_enrollment_end_on,
  courserun_upgrade_deadline,
  courserun_is_self_paced,
  courserun_is_live,
  b2b_contract_id,
  courserun_created_on,
  courserun_updated_on,
  courserun_extracted_on
from {{ ref('stg__mitxonline__app__postgres__courses_courserun') }}

union all

select
  'xpro',
  {{ surrogate_key(["'xpro'", 'courserun_id']) }},
  {{ surrogate_key(["'xpro'", 'course_id']) }},
  courserun_id,
  courserun_readable_id,
  courserun_title,
  courserun_tag,
  courserun_start_on,
  courserun_end_on,
  courserun_enrollment_start_on,
  courserun_enrollment_end_on,
  cast(null as timestamp(6)),
  cast(null as boolean),
  courserun_is_live,
  cast(null as bigint),
  courserun_created_on,
  courserun_updated_on,
  courserun_extracted_on
from {{ ref('stg__mitxpro__app__postgres__courses_courserun') }}

select
  {{ surrogate_key(["'mitxonline'", 'course_id']) }} as course_key,
  'mitxonline' as platform,
  course_id,
  course_readable_id,
  course_title,
  course_is_live,
  cast(null as varchar) as program_readable_id,
  cast(null as varchar) as program_title,
  course_created_on,
  course_updated_on
from {{ ref('stg__mitxonline__app__postgres__courses_course') }}

union all

select
  {{ surrogate_key(["'xpro'", 'courses.course_id']) }},
  'xpro',
  courses.course_id,
  courses.course_readable_id,
  courses.course_title,
  courses.course_is_live,
  programs.program_readable_id,
  programs.program_title,
  courses.course_created_on,
  courses.course_updated_on
from {{ ref('stg__mitxpro__app__postgres__courses_course') }} as courses
left join {{ ref('stg__mitxpro__app__postgres__courses_program') }} as programs on programs.program_id = courses.program_id
